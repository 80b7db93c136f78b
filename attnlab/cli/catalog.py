"""``attnlab ls``, ``show`` and ``sample``: the catalog of tasks, parts, experiments, metrics and results."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from attnlab.choices import ListKind
from attnlab.cli import completion
from attnlab.cli.cards import KINDS, experiment_card, is_part, part_card, part_registry
from attnlab.cli.options import AsJson, Complexity, Plugin, Seed, Store, TaskSettings, load_plugins, write_file

if TYPE_CHECKING:
    from attnlab.config.ladder import Ladder
    from attnlab.rendering.catalog import Listing
    from attnlab.rendering.run_card import RunCard

HEXADECIMAL = re.compile("[0-9a-f]{1,12}")
"""An id of a run, or its beginning."""
SHORT = 2
"""Characters of an id that may be the name of a part, such as f1, though they are not letters alone."""


def ls(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[LIST]",
            help="tasks, attentions, positions, norms, mlps, blocks, residual-streams, scorers, experiments, metrics, "
            "recipes, results.",
            show_default=True,
        ),
    ] = "tasks",
    words: Annotated[
        list[str] | None, typer.Argument(help="Show only the lines that contain every word; of results: stores.")
    ] = None,
    stores: Annotated[
        list[Path] | None,
        typer.Option("--store", metavar="DIR", help="Folder of results, several times for several. Default: results."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="FILTER", help="Runs that pass, such as 'width>32 and accuracy>=90%'."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="FIELD", help="Sort runs, best metric first; -FIELD reverses.")
    ] = None,
    best: Annotated[
        int | None, typer.Option("--best", metavar="N", min=1, help="The first N runs; sorts by accuracy by itself.")
    ] = None,
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, parts of models, experiments, metrics, recipes or results.

    A filter of results compares fields with values: = != < <= > >=, ~ (contains), joined by and, or, not. Fields are
    those of runs (width, lr, attention, level, seed), metrics (accuracy, loss), status, failure_mode and tag.
    """
    from attnlab.errors import InvalidValueError, unknown
    from attnlab.rendering.console import Console

    load_plugins(plugins)
    kind = {f"{field}s": field for field in KINDS}.get(kind.replace("_", "-"), kind.replace("_", "-"))
    if kind not in get_args(ListKind):
        raise unknown("list", kind, get_args(ListKind), where="ls")
    if kind == "results":
        from attnlab.cli.results import list_results

        folders = [*(stores or []), *map(Path, words or [])]
        list_results(folders or [Path("results")], where or [], sort, best, as_json=as_json)
        return
    for option, given in (("--where", where), ("--sort", sort), ("--best", best)):
        if given:
            hint = f"Write attnlab ls results, or leave {option} out."
            raise InvalidValueError(f"Only results can be listed with {option}.", hint, where=option)
    listed = listing(kind, [word.lower() for word in words or []])
    if as_json:
        sys.stdout.write(json.dumps(listed.data()) + "\n")
    else:
        Console().print(listed)


def show(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.shown,
            help="A name, or the id of a run or its beginning; KIND:NAME, such as norm:none, metric:mass, "
            "experiment:quickstart or run:3f2a, where several kinds have it; or FILE.py:Class.",
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Plot a run's learning curves: .html, .svg, .png or .pdf."),
    ] = None,
    store: Store = Path("results"),
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Show a task, a part of models, a metric, an experiment or a run.

    A part: formula, options, source, differences from it, size. A run: what differs from the defaults, learning curves,
    evaluations, diagnostics, failure mode, environment, tags, and the command that reproduces it.
    """
    from attnlab.rendering.console import Console

    load_plugins(plugins)
    run = _run_card(name, store)
    card = run or experiment_card(name) or part_card(name)
    if plot:
        _plot_run(run, name, plot)
    if as_json:
        sys.stdout.write(json.dumps(card.data()) + "\n")
    else:
        Console().print(card, highlight=False)
        if run:
            Console().print(run.script, highlight=False, markup=False, soft_wrap=True)


def sample(
    task: Annotated[
        str, typer.Argument(help="A ladder's name or file, or a registered task.", autocompletion=completion.tasks)
    ],
    complexity: Complexity = None,
    sequences: Annotated[int, typer.Option("--sequences", metavar="N", min=1, help="Number of sequences.")] = 3,
    seed: Seed = 0,
    settings: TaskSettings = None,
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Print sequences of a task with their targets."""
    from attnlab.config.inline_parts import parse_part, parse_settings
    from attnlab.config.yaml import scalar
    from attnlab.rendering.console import Console
    from attnlab.rendering.sequences import Sequences
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.size_check import check_rows
    from attnlab.tasks.io.streams import Source

    load_plugins(plugins)
    part = parse_part(task)
    options = {**part.options, **parse_settings(settings or []).get("task", {})}
    level = None if complexity is None else scalar(complexity)
    source = Source(task_spec(find_ladder(part.name), options, level), seed)
    check_rows(source.task, sequences, where="--sequences")
    batch = source.training(0, sequences)
    if as_json:
        sys.stdout.write(json.dumps({"inputs": batch.inputs_BT.tolist(), "targets": batch.targets_BT.tolist()}) + "\n")
    else:
        Console().print(Sequences(source.task, batch))


BELOW_TWO = ("tasks", "attention", "experiments", "recipes")
"""Kinds of which two columns stand below the others on a narrow screen."""


def listing(kind: str, words: list[str]) -> Listing:
    """List the tasks, parts, experiments, metrics or recipes that contain every word."""
    from attnlab import resources
    from attnlab.rendering.catalog import Listing

    if kind == "tasks":
        headings: tuple[str, ...] = ("task", "complexity", "levels", "chance", "summary", "source")
        rows = _task_rows()
    elif kind == "experiments":
        from attnlab.config.experiment import experiment

        experiments = [experiment(name) for name in resources.names("experiments")]
        published = resources.published_names()
        headings = ("experiment", "published", "ladders", "question")
        rows = [
            (one.name, _yes(one.name in published), ", ".join(entry.ladder for entry in one.ladders), one.question)
            for one in experiments
        ]
    elif kind == "metrics":
        from attnlab.diagnosis.quantities import all_metrics

        headings = ("metric", "diagnosis", "point", "source", "summary")
        rows = [(n, at, one.point.name.lower(), one.source, one.summary) for n, (at, one) in all_metrics().items()]
    elif kind == "recipes":
        from attnlab.config.recipes import RECIPES

        headings = ("recipe", "settings", "summary", "favors")
        rows = [(one.name, " ".join(one.settings) or "-", one.summary, one.favors) for one in RECIPES.values()]
    else:
        headings, rows = _part_rows(kind)
    matching = [row for row in rows if all(any(word in cell.lower() for cell in row) for word in words)]
    plural = f"{kind.removesuffix('s')}s"
    if_empty = f"There are no {plural}{' with those words' if words else ''}."
    return Listing(headings, matching, if_empty, below=2 if kind in BELOW_TWO else 1)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _task_rows() -> list[tuple[str, ...]]:
    """List the built-in ladders, then the registered tasks that have none."""
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import builtin_ladders, find_ladder

    ladders = builtin_ladders()
    ladders += [find_ladder(entry.name) for entry in TASKS if entry.name not in {ladder.task for ladder in ladders}]
    rows: list[tuple[str, ...]] = []
    for ladder in ladders:
        levels, chance = " ".join(map(str, ladder.levels)), "-"
        if TASKS.entry(ladder.task).required:
            levels = "-"
        else:
            chance = _chance(ladder)
        rows.append((ladder.name, ladder.complexity, levels, chance, ladder.summary, ladder.source))
    return rows


def _chance(ladder: Ladder) -> str:
    """Format the chance accuracy at the easiest and the hardest level; ``see show`` where it takes time."""
    from attnlab.formatting import percent
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import task_spec
    from attnlab.tasks.io.streams import build

    if not TASKS.entry(ladder.task).cls.cheap_to_build:
        return "see show"
    spec = task_spec(ladder, {}, ladder.levels[0])
    levels = ladder.levels[0], ladder.levels[-1]
    tasks = [build(spec, {**spec.options, spec.complexity: one}) for one in levels]
    if not all("chance" in vars(task) for task in tasks):  # it would be measured, on a sample
        return "see show"
    easiest, hardest = (percent(task.chance) for task in tasks)
    return easiest if easiest == hardest else f"{easiest.removesuffix(' %')}-{hardest}"


def _part_rows(kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """List parts; attentions with family, row constraint, cost, and parameters at the default size."""
    from attnlab.formatting import thousands
    from attnlab.specs import ModelSpec

    if kind != "attention":
        others = [(entry.name, str(entry.version), entry.source, entry.summary) for entry in part_registry(kind)]
        return (kind, "version", "source", "summary"), list(others)
    size = ModelSpec()
    rows: list[tuple[str, ...]] = []
    for entry in part_registry(kind):
        family, constraint = entry.cls.__module__.rpartition(".")[-1], entry.cls.row_constraint.name.lower()
        parameters = entry.cls.num_parameters(size.width, size.heads, 64, **entry.complete({}))
        rows.append(
            (entry.name, family, constraint, thousands(parameters), entry.cls.cost, entry.summary, entry.source)
        )
    return ("attention", "family", "rows", "parameters", "cost", "summary", "source"), rows


def _run_card(name: str, store: Path) -> RunCard | None:
    """Make the card of a run, where a name is ``run:ID`` or looks like an id."""
    word = name.removeprefix("run:")
    may_be_part = name.isalpha() or len(name) <= SHORT
    if word == name and (not HEXADECIMAL.fullmatch(name) or (may_be_part and is_part(name))):
        return None
    from attnlab.analysis.run_rows import run_rows
    from attnlab.errors import StoreError, UnknownNameError
    from attnlab.rendering.run_card import RunCard
    from attnlab.storage.find_run import find_record
    from attnlab.storage.status import store_status

    try:
        record, folder = find_record(word, store)
    except (UnknownNameError, StoreError):
        if word == name and name.isalpha():
            return None  # a slip in the name of a part
        raise
    rows = run_rows([store_status(folder)])
    return RunCard(next(row for row in rows if row.record.id == record.id))


def _plot_run(run: RunCard | None, name: str, path: Path) -> None:
    """Write the learning curves of a run to a file."""
    from attnlab.errors import InvalidValueError
    from attnlab.rendering.curve_plot import draw_curves

    if run is None:
        hint = "Give the id of a run: attnlab ls results."
        raise InvalidValueError(f"'{name}' is no run: it has no learning curves.", hint, where="--plot")
    write_file(path, draw_curves([run.record], [run.record.spec.summary], path))
