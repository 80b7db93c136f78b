"""``attnlab report``, ``cp`` and ``schema``: results of a store, a built-in YAML to edit, the format of the YAML."""

from __future__ import annotations

import gc
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import completion
from attnlab.cli.options import AsJson, Plugin, Quiet, load_plugins, write_file

if TYPE_CHECKING:
    from attnlab.cli.reported import Reported

StoreName = Annotated[
    Path,
    typer.Argument(
        metavar="[STORE]",
        help="A folder of results, or the name of one in results/; with --published, an experiment.",
        autocompletion=completion.reported,
    ),
]
Published = Annotated[
    bool,
    typer.Option(
        "--published",
        help="Report the published records of a built-in experiment, without a run; attnlab ls experiments has them.",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="accuracy, error, normalized_accuracy (0 at chance), exact_match, loss, perplexity, solved, "
        "validation_accuracy, steps, seconds, parameters, time_to_solve (in steps), seconds_to_solve, failure_mode, or "
        "a logged diagnostic. Default: accuracy.",
    ),
]
Index = Annotated[
    str | None,
    typer.Option("--index", metavar="FIELD,..", help="Fields of a row: attention,width. Default: all that vary."),
]
Columns = Annotated[
    str | None, typer.Option("--columns", metavar="FIELD", help="The field of the columns. Default: level.")
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the cells as CSV.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")]
Parquet = Annotated[
    Path | None,
    typer.Option("--parquet", metavar="FILE", help="Write the cells as Parquet, always with the same columns."),
]
Latex = Annotated[
    Path | None, typer.Option("--latex", metavar="FILE", help="Write the tables as LaTeX, with the rules of booktabs.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Plot accuracy against complexity: .html, .svg, .png or .pdf."),
]
Curves = Annotated[
    bool, typer.Option("--curves", help="Show the learning curves instead; with --plot, plot these instead.")
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write charts, tables, claims and runs as one offline page."),
]
AttentionMaps = Annotated[
    int,
    typer.Option(
        "--attention-maps",
        metavar="N",
        min=0,
        help="Variants of which the page shows attention maps, where weights are.",
    ),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="With --metric failure_mode: train undecided runs longer, and with other seeds, to tell which it is.",
    ),
]


def report(
    store: StoreName = Path("results"),
    published: Published = False,
    metric: Metric = None,
    index: Index = None,
    columns: Columns = None,
    csv: Csv = None,
    markdown: Markdown = None,
    parquet: Parquet = None,
    latex: Latex = None,
    plot: Plot = None,
    curves: Curves = False,
    html: Html = None,
    attention_maps: AttentionMaps = 4,
    probe: Probe = False,
    plugins: Plugin = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Report accuracy against complexity: means and intervals over seeds, max solved level, C50 and C90, claims.

    C50 and C90 are the complexities at which the fitted accuracy falls to 50 % and 90 % of the way from chance to 1.
    """
    from attnlab.analysis.metric_names import RUN_METRICS
    from attnlab.cli import reported
    from attnlab.config.renamed import METRICS, REPORT_FIELDS, renamed
    from attnlab.errors import InvalidValueError
    from attnlab.rendering.console import Console
    from attnlab.rendering.report import needs_history
    from attnlab.rendering.report import report as make_report
    from attnlab.storage.journal import uncollected

    load_plugins(plugins)
    results = reported.published(store) if published else reported.stored(store)
    metric = renamed(metric, METRICS, "--metric") if metric else None
    if metric and (words := metric.replace("-", "_")) in RUN_METRICS:
        metric = words
    fields = tuple(renamed(name, REPORT_FIELDS, "--index") for name in filter(None, (index or "").split(",")))
    columns = renamed(columns, REPORT_FIELDS, "--columns") if columns else None
    files = {"csv": csv, "markdown": markdown, "parquet": parquet}
    if metric == "failure_mode":
        if plot or html or latex or curves:
            hint = "Use --csv, --markdown, --parquet or --json; the page of any other metric has them: --html."
            raise InvalidValueError("Failure modes cannot be plotted.", hint, where="--metric failure_mode")
        if probe:
            if results.folder is None:
                hint = "Run the experiment yourself, and probe the runs of your store."
                raise InvalidValueError("Published records cannot be probed.", hint, where="--probe")
            _probe(results.folder, plugins or [], quiet=quiet)
        _report_failure_modes(results, fields, columns, files, as_json=as_json)
        return
    if probe:
        raise InvalidValueError("Probes decide between failure modes.", "Add --metric failure_mode.", where="--probe")
    with uncollected():
        runs = results.records(curves or html is not None or needs_history(metric, results.experiment))
        result = make_report(runs, results.experiment, metric=metric, index=fields, columns=columns)
        gc.freeze()  # what was read stays; looking for cycles in it takes long
    if not runs and results.folder:
        sys.stderr.write(f"attnlab: {reported.no_runs(results.folder)}\n")
    if plot:
        from attnlab.rendering.plot import draw, draw_curves

        write_file(plot, (draw_curves if curves else draw)(result, plot))
    if latex:
        from attnlab.rendering.latex import report_latex

        write_file(latex, report_latex(result))
    if html:
        from attnlab.cli.page import write_page

        write_page(html, result, results, attention_maps)
    if as_json or any(files.values()):
        from attnlab.rendering.export import FORMATS

        for name, path in files.items():
            if path:
                write_file(path, FORMATS[name](result))
    if as_json:
        sys.stdout.write(FORMATS["json"](result).decode())
    elif curves and not plot:
        from attnlab.rendering.curves import LearningCurves

        Console().print(LearningCurves(result), highlight=False)
    elif not any((plot, html, latex, *files.values())):
        Console().print(result, highlight=False)
        if results.about:
            Console().print(f"Published: {results.about}.", style="dim", highlight=False, markup=False)
    raise typer.Exit(0 if result.claims_hold else 1)


def _report_failure_modes(
    results: Reported, index: tuple[str, ...], columns: str | None, files: dict[str, Path | None], *, as_json: bool
) -> None:
    """Show the failure modes of runs, or write them to files."""
    from attnlab.rendering.console import Console
    from attnlab.rendering.failure_mode_export import FORMATS
    from attnlab.rendering.failure_mode_table import failure_mode_table
    from attnlab.storage.journal import uncollected

    with uncollected():
        table = failure_mode_table(results.records(True), results.experiment, index=index, columns=columns)
    for name, path in files.items():
        if path:
            write_file(path, FORMATS[name](table))
    if as_json:
        sys.stdout.write(FORMATS["json"](table).decode())
    elif not any(files.values()):
        Console().print(table, highlight=False)


def _probe(folder: Path, plugins: list[Path], *, quiet: bool) -> None:
    """Train what decides between the failure modes of the runs of a store."""
    from attnlab.analysis.records import records
    from attnlab.execution.executors import make_executor
    from attnlab.execution.worker_parts import worker_parts
    from attnlab.experiments.probes import plan_probes, run_probes
    from attnlab.rendering.console import Console
    from attnlab.rendering.sweep_progress import sweep_progress
    from attnlab.storage import PROBES
    from attnlab.training.events import no_callback

    plan = plan_probes(records(folder, history=True), shlex.join(["attnlab", *sys.argv[1:]]))
    stderr = Console(stderr=True, quiet=quiet)
    for run, reason in plan.refused.items():
        stderr.print(f"Not probed: {run}: {reason}", highlight=False, markup=False, soft_wrap=True)
    if not plan.undecided:
        stderr.print("No run has two failure modes that probes could tell apart.", highlight=False)
        return
    specs = plan.specs
    executor = make_executor("processes", parts=worker_parts(specs, plugins), weights=False, runs=len(specs))
    count = len(plan.undecided)
    runs = f"{count} undecided run{'s' * (count > 1)}, {len(specs)} probes"
    heading = f"{runs}; {executor.description}; {folder / PROBES}/"
    stderr.print(heading, highlight=False, markup=False, soft_wrap=True)
    try:
        if quiet:
            run_probes(plan, folder, executor, progress=no_callback)
        else:
            with sweep_progress(stderr, specs, 0) as progress:
                run_probes(plan, folder, executor, progress=progress)
    finally:
        executor.close()


def cp(
    name: Annotated[
        str, typer.Argument(help="A built-in experiment or ladder.", autocompletion=completion.files_to_copy)
    ],
    to: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: NAME.yaml in this folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Copy a built-in experiment or ladder to a file that you can edit."""
    from attnlab import resources
    from attnlab.errors import InvalidValueError, unknown
    from attnlab.files import write_output

    sources = [resources.folder(kind) / f"{name}.yaml" for kind in resources.KINDS if name in resources.names(kind)]
    if not sources:
        known = [known for kind in resources.KINDS for known in resources.names(kind)]
        raise unknown("experiment or ladder", name, known, where="cp")
    target = to or Path(f"{name}.yaml")
    target = target / f"{name}.yaml" if target.is_dir() else target
    if target.is_file() and not force:
        raise InvalidValueError("This file exists already.", "Give another name, or --force.", where=str(target))
    write_output(target, sources[0].read_bytes())
    command = "sweep" if sources[0].parent.name == "experiments" else "train --task"
    path = str(target) if "/" in str(target) else f"./{target}"
    screen = sys.stdout if target.is_file() else sys.stderr  # the copy may be in the output itself
    screen.write(f"{target}\nEdit it, then run: attnlab {command} {path}\n")


def schema(
    kind: Annotated[str, typer.Argument(metavar="[experiment|ladder]", help="The kind of YAML file.")] = "experiment",
) -> None:
    """Print the JSON schema of the YAML files, for editors that check a file while you type."""
    from attnlab.config.experiment import Experiment
    from attnlab.config.ladder import Ladder
    from attnlab.config.schema import schema as json_schema
    from attnlab.errors import unknown
    from attnlab.specs import Value

    kinds: dict[str, type[Value]] = {"experiment": Experiment, "ladder": Ladder}
    if kind not in kinds:
        raise unknown("format", kind, kinds, where="schema")
    sys.stdout.write(json.dumps(json_schema(kinds[kind]), indent=1) + "\n")
