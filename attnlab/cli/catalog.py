"""``attnlab ls``, ``show`` and ``sample``: look at what there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli.options import AsJson, Complexity, Seed, Settings, Store, With, load

if TYPE_CHECKING:
    from attnlab.config.ladder import Ladder
    from attnlab.registry import Registry
    from attnlab.rendering.catalog import Card, Listing
    from attnlab.rendering.diagnosis import MetricCard

KINDS = ("tasks", "attention", "position", "experiments", "metrics", "results")


def ls(
    kind: Annotated[str, typer.Argument(metavar="[tasks|attention|position|experiments|metrics|results]")] = "tasks",
    words: Annotated[list[str] | None, typer.Argument(help="Keep the lines in which every word stands.")] = None,
    store: Store = Path("results"),
    with_files: With = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, attentions, positions, experiments, metrics or results."""
    from rich.console import Console

    from attnlab.errors import unknown

    load(with_files)
    if kind not in KINDS:
        raise unknown("list", kind, KINDS, where="ls")
    if kind == "results":
        from attnlab.rendering.status import Overview
        from attnlab.storage.status import find_stores, store_status

        found = [store_status(path) for path in find_stores(store)]
        if as_json:
            sys.stdout.writelines(f"{record.model_dump_json()}\n" for one in found for record in one.records)
        else:
            nothing = f"Nothing in {store}/ yet. Try: attnlab train --task recall --attn expressive"
            Console().print(Overview(found) if found else nothing, highlight=False)
        return
    listing = _listing(kind, [word.lower() for word in words or []])
    if as_json:
        sys.stdout.write(json.dumps(listing.data()) + "\n")
    else:
        Console().print(listing)


def show(
    name: Annotated[str, typer.Argument(help="Its name; metric:NAME for a metric that shares its name with a part.")],
    with_files: With = None,
    as_json: AsJson = False,
) -> None:
    """Show a task, an attention, a position or a metric: formula, options, source, departures, size."""
    from rich.console import Console

    load(with_files)
    card = _card(name)
    if as_json:
        sys.stdout.write(json.dumps(card.data()) + "\n")
    else:
        Console().print(card, highlight=False)


def sample(
    task: Annotated[str, typer.Argument(help="A ladder's name or file, or a registered task.")],
    complexity: Complexity = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Sequences to print.")] = 3,
    seed: Seed = 0,
    settings: Settings = None,
    with_files: With = None,
    as_json: AsJson = False,
) -> None:
    """Print sequences of a task, the answers marked."""
    from rich.console import Console

    from attnlab.config.inline_parts import parse_part
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.config.yaml import scalar
    from attnlab.rendering.sequences import Sequences
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.streams import Source

    load(with_files)
    asked = parse_part(task)
    options = {**asked.options, **read_settings(settings or []).get("task", {})}
    rung = None if complexity is None else scalar(complexity)
    source = Source(task_spec(find_ladder(asked.name), options, rung), seed)
    batch = source.training(0, rows)
    if as_json:
        sys.stdout.write(json.dumps({"inputs": batch.inputs_BT.tolist(), "targets": batch.targets_BT.tolist()}) + "\n")
    else:
        Console().print(Sequences(source.task, batch))


def _listing(kind: str, words: list[str]) -> Listing:
    from attnlab import resources
    from attnlab.rendering.catalog import Listing

    if kind == "tasks":
        heads: tuple[str, ...] = ("task", "complexity", "levels", "chance", "summary", "source")
        rows = _task_rows()
    elif kind == "experiments":
        from attnlab.config.experiment import experiment

        found = [experiment(name) for name in resources.names("experiments")]
        heads = ("experiment", "climbs", "question")
        rows = [(one.name, ", ".join(climb.ladder for climb in one.ladders), one.question) for one in found]
    elif kind == "metrics":
        from attnlab.diagnosis.quantities import all_metrics

        heads = ("metric", "diagnosis", "point", "source", "summary")
        rows = [(n, at, one.point.name.lower(), one.source, one.summary) for n, (at, one) in all_metrics().items()]
    else:
        heads, rows = _part_rows(kind)
    kept = [row for row in rows if all(any(word in cell.lower() for cell in row) for word in words)]
    nothing = f"No {kind} here{' with those words' if words else ''}."
    return Listing(heads, kept, nothing, below=2 if kind in ("tasks", "attention") else 1)


def _task_rows() -> list[tuple[str, ...]]:
    """Ladders of the shelf, then registered tasks without one; the chance of those that are quickly built."""
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import find_ladder, shipped

    ladders = shipped()
    ladders += [find_ladder(entry.name) for entry in TASKS if entry.name not in {found.task for found in ladders}]
    rows: list[tuple[str, ...]] = []
    for found in ladders:
        if TASKS.entry(found.task).required:
            rows.append((found.name, found.complexity, "-", "-", found.summary, found.source))
            continue
        rungs = " ".join(map(str, found.levels))
        rows.append((found.name, found.complexity, rungs, _chance(found), found.summary, found.source))
    return rows


def _chance(found: Ladder) -> str:
    """At the easiest level and at the hardest."""
    from attnlab.formatting import percent
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import task_spec
    from attnlab.tasks.io.streams import build

    if not TASKS.entry(found.task).cls.cheap_to_build:
        return "see show"
    spec = task_spec(found, {}, found.levels[0])
    climbed = ({**spec.options, spec.complexity: rung} for rung in (found.levels[0], found.levels[-1]))
    ends = [percent(build(spec, options).chance) for options in climbed]
    return ends[0] if ends[0] == ends[1] else f"{ends[0].removesuffix(' %')}-{ends[1]}"


def _part_rows(kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Parts of a model: for an attention its family, rows, cost and weights at the default size as well."""
    from attnlab.formatting import thousands
    from attnlab.specs import ModelSpec

    if kind == "position":
        places = [(entry.name, str(entry.version), entry.source, entry.summary) for entry in _registry(kind)]
        return ("position", "version", "source", "summary"), list(places)
    size = ModelSpec()
    rows: list[tuple[str, ...]] = []
    for entry in _registry(kind):
        family, promise = entry.cls.__module__.rpartition(".")[-1], entry.cls.row_constraint.name.lower()
        weights = entry.cls.num_parameters(size.width, size.heads, 64, **entry.complete({}))
        rows.append((entry.name, family, promise, thousands(weights), entry.cls.cost, entry.summary, entry.source))
    return ("attention", "family", "rows", "weights", "cost", "summary", "source"), rows


def _registry(kind: str) -> Registry[Any]:
    if kind == "attention":
        from attnlab.attention import ATTENTIONS

        return ATTENTIONS
    from attnlab.position import POSITIONS

    return POSITIONS


def _card(name: str) -> Card | MetricCard:
    """The card of the first kind that knows the name: tasks, attentions, positions, metrics; or ``metric:NAME``."""
    from attnlab.errors import unknown
    from attnlab.rendering.catalog import Card
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import find_ladder, shipped, task_spec
    from attnlab.tasks.io.streams import build

    if name.startswith("metric:"):
        return _metric_card(name.removeprefix("metric:"))
    ladders: list[Ladder] = [found for found in shipped() if name in (found.name, found.task)]
    if ladders or name in TASKS:
        found = find_ladder(name)
        entry = TASKS.entry(found.task)
        chance = None if entry.required else build(task_spec(found, {}, None)).chance
        return Card(entry, "task", ladders=ladders, chance=chance)
    for kind in ("attention", "position"):
        if name in (registry := _registry(kind)):
            from attnlab.experiments.plan import default_parameters

            return Card(registry.entry(name), kind, parameters=default_parameters(kind, name))
    from attnlab.diagnosis.quantities import all_metrics

    if name in all_metrics():
        return _metric_card(name)
    known = [entry.name for registry in (TASKS, *map(_registry, ("attention", "position"))) for entry in registry]
    raise unknown("part", name, {*known, *all_metrics()})


def _metric_card(name: str) -> MetricCard:
    from attnlab.diagnosis.quantities import all_metrics
    from attnlab.errors import unknown
    from attnlab.rendering.diagnosis import MetricCard

    if name not in all_metrics():
        raise unknown("metric", name, all_metrics())
    at, found = all_metrics()[name]
    words = found.summary, found.formula, found.source, found.point.value, found.collapse, found.mean
    return MetricCard(name, at, *words)
