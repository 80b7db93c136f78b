"""``attnlab ls results``, ``compare``, ``tag`` and ``rm``: finished runs, found and held."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import completion
from attnlab.cli.options import AsJson, Store, write_file

if TYPE_CHECKING:
    from attnlab.analysis.run_rows import RunRow
    from attnlab.storage.status import StoreStatus
    from attnlab.storage.trash import Removal

RUN = "Id of the run, or its beginning: attnlab ls results."


def list_results(
    folders: Sequence[Path], where: Sequence[str], sort: str | None, best: int | None, *, as_json: bool
) -> None:
    """List the runs of stores: by status, or as one list where they are filtered or sorted.

    Args:
        folders: Stores, or folders of stores.
        where: Filters, all of which a run must pass.
        sort: The field to sort by; None keeps the order in which the runs were finished.
        best: How many runs are listed; None lists all.
        as_json: Whether records are printed as JSON lines.

    Raises:
        AttnlabError: A folder does not exist, a filter cannot be read, or a field does not exist.
    """
    from attnlab.rendering.console import Console

    listed = bool(where or sort or best)
    statuses = _statuses(folders, whole=listed or as_json)
    if not statuses:
        if not as_json:
            named = ", ".join(f"{folder}/" for folder in folders)
            message = f"There are no results in {named} yet. Try: attnlab train --task recall --attn expressive"
            Console().print(message, highlight=False, markup=False, soft_wrap=True)
        return
    if not listed and not as_json:
        from attnlab.rendering.status import Overview
        from attnlab.storage.tags import read_tags

        tags = {run: words for status in statuses for run, words in read_tags(status.path).items()}
        Console().print(Overview(statuses, tags), highlight=False)
        return
    from attnlab.analysis.run_rows import run_rows
    from attnlab.rendering.run_list import RunList

    rows = run_rows(statuses)
    chosen, field = _chosen(rows, where, sort, best)
    result = RunList(chosen, field, len(rows))
    if as_json:
        sys.stdout.writelines(result.lines())
    else:
        Console().print(result, highlight=False)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help=RUN, autocompletion=completion.runs)],
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Plot the learning curves: .html, .svg, .png or .pdf.")
    ] = None,
    store: Store = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Compare runs: the fields that differ, the curves, and the difference of accuracy over the seeds they share."""
    from attnlab.analysis.run_comparison import compare_stored
    from attnlab.rendering.comparison import ComparisonTable
    from attnlab.rendering.console import Console
    from attnlab.rendering.curve_plot import draw_curves
    from attnlab.run_labels import labels_of

    table = ComparisonTable(compare_stored(runs, store))
    if plot:
        records = [row.record for row in table.comparison.rows]
        write_file(plot, draw_curves(records, labels_of([record.spec for record in records]), plot))
    if as_json:
        sys.stdout.write(json.dumps(table.data(), allow_nan=False) + "\n")
    else:
        Console().print(table, highlight=False)


def tag(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN, autocompletion=completion.runs)],
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...", help="Tags; none shows the tags.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tags; without words, all of them.")] = False,
    store: Store = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Give a run tags, which attnlab ls results --where 'tag=WORD' finds; they are no part of its id."""
    from attnlab.storage.find_run import find_records
    from attnlab.storage.tags import change_tags, read_tags

    ((record, folder),) = find_records([run], store)
    tags = read_tags(folder)
    if words or remove:
        change = {record.id: words or tags.get(record.id, ())}
        tags = change_tags(folder, add={} if remove else change, remove=change if remove else {})
    own = tags.get(record.id, ())
    if as_json:
        sys.stdout.write(json.dumps({"id": record.id, "store": str(folder), "tags": list(own)}) + "\n")
    else:
        sys.stdout.write(f"{record.id}  {record.spec.summary}  {' '.join(f'#{word}' for word in own) or 'no tags'}\n")


def rm(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help=RUN, autocompletion=completion.runs)
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Put back what was removed last, or the removals of the runs that are named.")
    ] = False,
    store: Store = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Remove runs with their weights and checkpoints: to the trash of the store, from which --undo puts them back."""
    from attnlab.errors import InvalidValueError
    from attnlab.storage.find_run import find_started
    from attnlab.storage.status import find_stores
    from attnlab.storage.trash import remove_runs, restore_runs

    if undo:
        done = restore_runs(find_stores(store), runs or ())
    elif runs:
        done = remove_runs(find_started(runs, store))
    else:
        hint = "Name runs (attnlab ls results), or put back what was removed with --undo."
        raise InvalidValueError("There is nothing to remove.", hint, where="rm")
    if as_json:
        key = "restored" if undo else "removed"
        sys.stdout.writelines(json.dumps({"store": str(one.store), key: one.ids}) + "\n" for one in done)
    else:
        _tell(done, store, undo=undo)


def _tell(done: Sequence[Removal], store: Path, *, undo: bool) -> None:
    """Say which runs were moved, and what takes it back."""
    from attnlab.formatting import printable
    from attnlab.run_labels import RunLabels
    from attnlab.storage.find_run import in_store

    labels = RunLabels(record.spec for one in done for record in one.records)
    for one in done:
        place = f"from {one.path}/ to {one.store}/" if undo else f"from {one.store}/ to {one.path}/"
        sys.stdout.write(f"Moved {place}:\n")
        sys.stdout.writelines(f"  {record.id}  {labels.of(record.spec)}\n" for record in one.records)
        for started in one.checkpoints:
            state = f"checkpoint at {started.progress}" if started.readable else "checkpoint"
            sys.stdout.write(f"  {printable('  '.join(filter(None, (started.run, started.summary, state))))}\n")
    if not undo:
        sys.stdout.write(f"To put them back: attnlab rm --undo{in_store(store)}\n")


def _statuses(folders: Sequence[Path], *, whole: bool) -> list[StoreStatus]:
    """The status of every store in some folders, each once; a name may be that of a store in ``results/``."""
    from attnlab.errors import InvalidValueError
    from attnlab.storage.journal import uncollected
    from attnlab.storage.status import find_stores, store_status

    stores: dict[Path, Path] = {}
    for folder in folders:
        in_results = Path("results") / folder
        place = in_results if not folder.exists() and in_results.is_dir() else folder
        if not place.is_dir() and folder != Path("results"):
            hint = "Name a store, or a folder of stores."
            raise InvalidValueError(f"There is no folder '{folder}'.", hint, where="ls results")
        stores |= {path.resolve(): path for path in find_stores(place)}
    with uncollected():
        return [store_status(path, whole=whole) for path in stores.values()]


def _chosen(
    rows: Sequence[RunRow], where: Sequence[str], sort: str | None, best: int | None
) -> tuple[list[RunRow], str]:
    """The runs that pass the filters, in order, and the field that they are sorted by."""
    from attnlab.analysis.run_filter import parse_filter
    from attnlab.analysis.run_rows import check_run_field, sort_rows

    tests = [parse_filter(text, rows) for text in where]
    sort = sort or ("accuracy" if best else None)
    minus = "-" if sort and sort.startswith("-") else ""
    field = check_run_field(sort.removeprefix("-"), rows, "--sort") if sort else ""
    passing = [row for row in rows if all(test(row) for test in tests)]
    ordered = sort_rows(passing, minus + field) if field else passing
    return ordered[:best], field
