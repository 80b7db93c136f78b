"""The card of a part, a metric or an experiment, as ``attnlab show`` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnlab.choices import Scoring
    from attnlab.config.ladder import Ladder
    from attnlab.registry import Registry
    from attnlab.rendering.catalog import Card
    from attnlab.rendering.diagnosis import MetricCard
    from attnlab.rendering.experiment_card import ExperimentCard
    from attnlab.rendering.own_part import OwnCard

PARTS = {
    "attention": "attention",
    "position": "position",
    "norm": "norm_layer",
    "mlp": "mlp",
    "block": "block",
    "residual-stream": "residual_stream",
}
"""The lists of parts of models, and the field of a model that holds a part of each."""
KINDS = (*PARTS, "scorer")
"""The kinds of parts that are listed and shown, beside tasks."""


def part_card(name: str) -> Card | MetricCard | OwnCard:
    """Make the card of the first part of that name: a task, a part of models, a metric; or that of ``KIND:NAME``."""
    from attnlab import resources
    from attnlab.errors import unknown
    from attnlab.rendering.catalog import Card
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import builtin_ladders

    if name.startswith("metric:"):
        return metric_card(name.removeprefix("metric:"))
    if ":" not in name and (card := task_card(name, builtin_ladders())):
        return card
    from attnlab.cli.own_part import names_own_part, own_card

    if names_own_part(name, KINDS):
        from attnlab.attention import ATTENTIONS
        from attnlab.config.inline_parts import parse_part

        word = parse_part(name, classes=True).name  # a card has the defaults of the options
        if ":" in word:
            return own_card(word) or Card(ATTENTIONS.entry(word), "attention")
        name = word
    wanted, colon, inner = name.partition(":")
    kinds = [wanted] if colon and wanted in KINDS else list(KINDS)
    for kind in kinds:
        if (own := inner if len(kinds) == 1 else name) in (registry := part_registry(kind)):
            if kind == "scorer":
                return Card(registry.entry(own), kind)
            from attnlab.experiments.plan import default_parameters

            return Card(registry.entry(own), kind, parameters=default_parameters(PARTS[kind], own))
    if len(kinds) == 1:
        raise unknown(part_registry(wanted).kind, inner, {entry.name for entry in part_registry(wanted)})
    from attnlab.diagnosis.quantities import all_metrics

    if name in all_metrics():
        return metric_card(name)
    known = [entry.name for registry in (TASKS, *map(part_registry, KINDS)) for entry in registry]
    raise unknown("part", name, {*known, *all_metrics(), *resources.names("experiments")})


def task_card(name: str, ladders: Sequence[Ladder]) -> Card | None:
    """Make the card of a task, or that of the task of a ladder in a file; None where nothing has the name."""
    from attnlab.rendering.catalog import Card
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.streams import build

    own = [find_ladder(name)] if is_yaml(name) else [one for one in ladders if name in (one.name, one.task)]
    if not own and name not in TASKS:
        return None
    ladder = find_ladder(name)
    entry = TASKS.entry(ladder.task)
    chance = None if entry.required else build(task_spec(ladder, {}, None)).chance
    return Card(entry, "task", ladders=own, chance=chance, scoring=_scoring(own or [ladder]))


def metric_card(name: str) -> MetricCard:
    """Make the card of a metric."""
    from attnlab.diagnosis.quantities import all_metrics
    from attnlab.errors import unknown
    from attnlab.rendering.diagnosis import MetricCard

    if name not in all_metrics():
        raise unknown("metric", name, all_metrics())
    kind, metric = all_metrics()[name]
    fields = metric.summary, metric.formula, metric.source, metric.point.value, metric.collapse, metric.mean
    return MetricCard(name, kind, *fields)


def experiment_card(name: str) -> ExperimentCard | None:
    """Make the card of a built-in experiment or of one in a YAML file; None for another name, or a ladder's file."""
    from attnlab import resources
    from attnlab.config.experiment import experiment
    from attnlab.config.yaml import read
    from attnlab.rendering.experiment_card import ExperimentCard

    word = name.removeprefix("experiment:")
    if word == name and not resources.holds("experiments", name):
        if not is_yaml(name):
            return None
        keys = read(resources.find("experiments", name)).data
        if isinstance(keys, dict) and {"task", "levels"} & keys.keys() and "ladders" not in keys:
            return None
    return ExperimentCard(experiment(word), resources.find("experiments", word))


def is_yaml(name: str) -> bool:
    """Whether a name is that of a YAML file."""
    return name.endswith((".yaml", ".yml"))


def is_part(name: str) -> bool:
    """Whether a name is that of a task, a part of models or a metric."""
    from attnlab.diagnosis.quantities import all_metrics
    from attnlab.tasks import TASKS

    return name in TASKS or any(name in part_registry(kind) for kind in KINDS) or name in all_metrics()


def part_registry(kind: str) -> Registry[Any]:
    """Import the registry of one kind of parts."""
    if kind == "scorer":
        from attnlab.scorer import SCORERS

        return SCORERS
    from attnlab.experiments.resolve import REGISTRIES

    return REGISTRIES[PARTS[kind]]


def _scoring(ladders: list[Ladder]) -> list[Scoring]:
    """Tell which way each ladder is scored at its default level; nothing where a task needs more options."""
    from attnlab.tasks import TASKS
    from attnlab.tasks.io.fed_back import way_of_scoring
    from attnlab.tasks.io.ladders import task_spec
    from attnlab.tasks.io.streams import build

    if any(TASKS.entry(ladder.task).required for ladder in ladders):
        return []
    return [
        way_of_scoring(build(task_spec(ladder, {}, None)), ladder.training_settings.get("rollout") is True)
        for ladder in ladders
    ]
