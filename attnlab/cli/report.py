"""``attnlab report`` and ``cp``: what a store shows; a shipped YAML to edit."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli.options import AsJson


def report(
    store: Annotated[
        Path, typer.Argument(metavar="[STORE]", help="A folder of results, or the name of one in results/.")
    ] = Path("results"),
    value: Annotated[
        str | None, typer.Option("--value", help="accuracy, answers, loss, perplexity, solved, steps, verdict, ...")
    ] = None,
    rows: Annotated[str | None, typer.Option("--rows", help="Fields of a row, as attention,width.")] = None,
    columns: Annotated[str | None, typer.Option("--columns", help="The field of the columns.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the cells.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write the cells.")] = None,
    chart: Annotated[
        Path | None, typer.Option("--chart", metavar="FILE", help="Draw the curves: .html, .svg or .png.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write one HTML page with all of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report accuracy against complexity: means and intervals over seeds, reach, capacity, claims."""
    from rich.console import Console

    from attnlab import resources
    from attnlab.analysis.records import records
    from attnlab.config.experiment import stored_experiment
    from attnlab.errors import InvalidValueError
    from attnlab.rendering.export import FORMATS
    from attnlab.rendering.report import report as compose
    from attnlab.storage.files import write_whole
    from attnlab.storage.journal import uncollected

    folder = _found(store)
    fields = tuple(filter(None, rows.split(","))) if rows else ()
    files = {"csv": csv, "markdown": markdown, "parquet": parquet}
    if value == "verdict":
        if chart or page:
            hint = "What it takes: --csv, --markdown, --parquet, --json."
            raise InvalidValueError("Verdicts are words: there is no curve to draw.", hint, where="--value verdict")
        _verdicts(folder, fields, columns, files, as_json=as_json)
        return
    with uncollected():
        experiment = stored_experiment(folder)
        said = compose(records(folder), experiment, value=value, rows=fields, columns=columns)
    if chart:
        from attnlab.rendering.plot import drawn

        write_whole(chart, drawn(said, chart))
    if page:
        from attnlab.rendering.html import as_page

        shipped = experiment is not None and experiment.name in resources.names("experiments")
        runs = f"attnlab sweep {experiment.name}" if experiment and shipped else ""
        write_whole(page, as_page(said, shlex.join(["attnlab", *sys.argv[1:]]), runs))
    for name, path in files.items():
        if path:
            write_whole(path, FORMATS[name](said))
    if as_json:
        sys.stdout.write(FORMATS["json"](said).decode())
    elif not any((chart, page, *files.values())):
        Console().print(said, highlight=False)
    raise typer.Exit(0 if said.claims_hold else 1)


def _verdicts(
    folder: Path, rows: tuple[str, ...], columns: str | None, files: dict[str, Path | None], *, as_json: bool
) -> None:
    """The verdicts on the runs of a store, on the screen or in files."""
    from rich.console import Console

    from attnlab.analysis.records import records
    from attnlab.config.experiment import stored_experiment
    from attnlab.rendering.failure_mode_export import FORMATS
    from attnlab.rendering.failure_mode_table import failure_mode_table
    from attnlab.storage.files import write_whole
    from attnlab.storage.journal import uncollected

    with uncollected():
        table = failure_mode_table(records(folder), stored_experiment(folder), rows=rows, columns=columns)
    for name, path in files.items():
        if path:
            write_whole(path, FORMATS[name](table))
    if as_json:
        sys.stdout.write(FORMATS["json"](table).decode())
    elif not any(files.values()):
        Console().print(table, highlight=False)


def cp(
    name: Annotated[str, typer.Argument(help="A shipped experiment or ladder.")],
    to: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Left out, NAME.yaml here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
) -> None:
    """Copy a shipped experiment or ladder, to edit it."""
    from attnlab import resources
    from attnlab.errors import InvalidValueError, unknown
    from attnlab.storage.files import write_whole

    found = [resources.folder(kind) / f"{name}.yaml" for kind in resources.KINDS if name in resources.names(kind)]
    if not found:
        known = [known for kind in resources.KINDS for known in resources.names(kind)]
        raise unknown("experiment or ladder", name, known, where="cp")
    target = to or Path(f"{name}.yaml")
    target = target / f"{name}.yaml" if target.is_dir() else target
    if target.exists() and not force:
        raise InvalidValueError("This file is there already.", "Give another name, or --force.", where=str(target))
    write_whole(target, found[0].read_bytes())
    verb = "sweep" if found[0].parent.name == "experiments" else "train --task"
    word = str(target) if "/" in str(target) else f"./{target}"
    sys.stdout.write(f"{target}\nEdit it, then: attnlab {verb} {word}\n")


def schema(
    kind: Annotated[str, typer.Argument(metavar="[experiment|ladder]")] = "experiment",
) -> None:
    """Print the JSON schema of the YAML files, for editors that check while you type."""
    from attnlab.config.experiment import Experiment
    from attnlab.config.ladder import Ladder
    from attnlab.config.schema import schema as described
    from attnlab.errors import unknown
    from attnlab.specs import Value

    kinds: dict[str, type[Value]] = {"experiment": Experiment, "ladder": Ladder}
    if kind not in kinds:
        raise unknown("format", kind, kinds, where="schema")
    sys.stdout.write(json.dumps(described(kinds[kind]), indent=1) + "\n")


def _found(word: Path) -> Path:
    """The store that is meant: that folder, one of that name in ``results/``, or the only one in it.

    Raises:
        InvalidValueError: there is none, or there are several.
    """
    from attnlab.errors import InvalidValueError
    from attnlab.storage import Store
    from attnlab.storage.status import find_stores

    inside = Path("results") / word
    place = inside if len(word.parts) == 1 and not word.exists() and inside.is_dir() else word
    Store(place)
    if (place / "records.jsonl").exists():
        return place
    below = find_stores(place)
    if len(below) == 1:
        return below[0]
    if below:
        words = "\n".join(f"attnlab report {path}" for path in below)
        raise InvalidValueError("There are several stores here.", f"Name one:\n{words}", where=f"{place}/")
    hint = "Try: attnlab sweep --task recall --attn softmax,expressive --seeds 3"
    raise InvalidValueError("There are no results here yet.", hint, where=f"{place}/")
