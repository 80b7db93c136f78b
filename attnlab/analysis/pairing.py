"""Runs -> pairs of variants that are compared, whether they have been run or not.

Every variant is compared with the first one. Runs that differ in another field as well, such as the width, are compared
within each setting of it. What a variant brings with itself is no setting: a whole model has no position, a recurrence
leaves out what a recipe sets of scores, and only an attention that leaks needs the permission.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attnlab.analysis._training_ranges import common_training
from attnlab.analysis.comparisons import BySeed, Comparison, Question
from attnlab.records import Record
from attnlab.run_fields import trained_on
from attnlab.run_labels import RunLabels, one_of_each
from attnlab.specs import ModelSpec, RunSpec, TaskSpec
from attnlab.tasks.io.levels_to_run import in_ladder_order

SIZES = ("layers", "width", "heads", "mlp_ratio")
"""What differs between variants whose budgets were matched."""
Key = tuple[Any, ...]
Variants = dict[Key, list[RunSpec]]
"""The runs of each variant of a setting."""
Runs = Mapping[Any, Mapping[int, RunSpec]]
"""Level -> seed -> run."""


@dataclass(frozen=True)
class Pair:
    """The runs of a comparison, whether they have records or not."""

    task: str
    variant: str
    reference: str
    ours: Runs
    theirs: Runs

    def compared(self, records: Mapping[str, Record], question: Question) -> Comparison:
        """Compare those runs that have a record.

        Args:
            records: Records by id; failed ones count as absent.
            question: What is asked.

        Returns:
            The comparison.
        """
        sides = [_finished(runs, records) for runs in (self.ours, self.theirs)]
        return Comparison(self.task, self.variant, self.reference, tuple(self.ours), sides[0], sides[1], question)


def pairs(specs: Sequence[RunSpec]) -> list[Pair]:
    """Pair every variant with the first one; where only attentions or whole models differ, within each setting.

    Args:
        specs: Runs of all variants, levels and seeds.

    Returns:
        The pairs, in the order of the runs; a variant that is alone in its setting makes a pair with itself.
    """
    groups: dict[Key, Variants] = {}
    settings = _Settings(specs)
    for spec in specs:
        groups.setdefault(settings.of(spec), {}).setdefault(settings.variant(spec), []).append(spec)
    groups = _with_reference(groups)
    if all(len(group) == 1 for group in groups.values()):  # it is another field that differs
        merged: dict[Key, Variants] = {}
        for key, group in groups.items():
            merged.setdefault(key[:1], {}).update(group)
        groups = merged
    result = []
    for group in groups.values():
        first, *others = group.values()
        reference = _runs(first)
        for runs in others:
            name, other = settings.name(runs[0]), settings.name(first[0])
            result.append(Pair(runs[0].task.name, name, other, _runs(runs), reference))
        if not others:
            result.append(Pair(first[0].task.name, settings.name(first[0]), "", reference, reference))
    return result


def _with_reference(groups: Mapping[Key, Variants]) -> dict[Key, Variants]:
    """Move variants of settings without the first variant to the setting with it that is most like theirs."""
    kept: dict[Key, Variants] = {}
    others: list[tuple[Key, Variants]] = []
    first: dict[Any, bytes] = {}
    for key, group in groups.items():
        found = {_who(runs[0].model) for runs in group.values()}
        if first.setdefault(key[0], _who(next(iter(group.values()))[0].model)) in found:
            kept[key] = dict(group)
        else:
            others.append((key, group))
    for key, group in others:
        own = next(iter(group.values()))[0]
        near = [(_unlike(own, next(iter(kept[one].values()))[0]), one) for one in kept if one[0] == key[0]]
        target = kept[min(near, key=lambda one: one[0])[1]]
        if group.keys() & target.keys():
            kept[key] = group
        else:
            target |= group
    return kept


def _who(model: ModelSpec) -> bytes:
    """What a variant is called by: its attention, or its whole model."""
    return ModelSpec(attention=model.attention or ModelSpec().attention, module=model.module).canonical


def _unlike(one: RunSpec, other: RunSpec) -> int:
    """The number of fields in which two runs differ."""
    sections = ((one.model, other.model), (one.train, other.train))
    return sum(
        getattr(ours, name) != getattr(theirs, name) for ours, theirs in sections for name in type(ours).model_fields
    )


def with_questions(pairs: Sequence[Pair], question: Callable[[str], Question]) -> list[tuple[Pair, Question]]:
    """Give each pair its question.

    Args:
        pairs: All pairs that are compared.
        question: What is asked on the ladder of a name.

    Returns:
        The pairs with what is asked; the probability of an error is shared by all of them at least.
    """
    asked = [question(pair.task) for pair in pairs]
    return [
        (pair, replace(own, comparisons=max(own.comparisons, len(pairs))))
        for pair, own in zip(pairs, asked, strict=True)
    ]


class _Settings:
    """Keys of what runs have in common beside their attention, their level and their seed, and names of the rest."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._sections: dict[int, tuple[Any, bytes, bytes]] = {}
        self._tasks = _common_tasks({id(spec.task): spec.task for spec in specs})
        self._task_keys = {key: _without_level(task).canonical for key, task in self._tasks.items()}
        self._labels = RunLabels(self._at_any_level(spec) for spec in one_of_each(specs))

    def of(self, spec: RunSpec) -> tuple[Any, ...]:
        return (
            self._task_keys[id(spec.task)],
            self._model(spec.model)[0],
            spec.train.canonical,
            bool(spec.continue_from),
        )

    def name(self, spec: RunSpec) -> str:
        return self._labels.of(self._at_any_level(spec)).within_level

    def _at_any_level(self, spec: RunSpec) -> RunSpec:
        return spec.model_copy(update={"task": self._tasks[id(spec.task)]})

    def variant(self, spec: RunSpec) -> tuple[Any, ...]:
        return self._model(spec.model)[1], spec.train.canonical

    def _model(self, model: ModelSpec) -> tuple[bytes, bytes]:
        if id(model) not in self._sections:
            defaults = ModelSpec()
            common: dict[str, Any] = {"attention": defaults.attention, "module": None, "matched": ""}
            if model.matched:
                common |= {name: getattr(defaults, name) for name in SIZES}
            self._sections[id(model)] = model, model.model_copy(update=common).canonical, model.canonical
        return self._sections[id(model)][1:]


def _runs(specs: Sequence[RunSpec]) -> Runs:
    """The runs of each level; those that share the training of a range stand at every level that they are tested on."""
    levels: dict[Any, dict[int, RunSpec]] = {}
    for spec in specs:
        levels.setdefault(spec.task.level, {})[spec.seed] = spec
    first = specs[0]
    if len(levels) > 1 or trained_on(first) == first.task.level:
        return levels
    tested = {spec.seed: {first.task.level, *spec.task.evaluate} for spec in specs}
    listed = in_ladder_order([first.task.level, *first.task.evaluate], first.task.evaluate or [first.task.level])
    return {level: {spec.seed: spec for spec in specs if level in tested[spec.seed]} for level in listed}


def _finished(runs: Runs, records: Mapping[str, Record]) -> dict[Any, BySeed]:
    found: dict[Any, BySeed] = {}
    for level, by_seed in runs.items():
        own = {seed: _tested_on(level, records[spec.id]) for seed, spec in by_seed.items() if spec.id in records}
        if there := {seed: record for seed, record in own.items() if record and record.status != "failed"}:
            found[level] = there
    return found


def _tested_on(level: Any, record: Record) -> Record | None:
    """A record with the accuracy on one of the levels that it was tested on; None if it was not tested there."""
    if level == record.spec.task.level:
        return record
    tests = [one for one in record.evaluations if one.level == level and not one.subtask]
    return record.model_copy(update={"accuracy": tests[0].accuracy}) if tests else None


def _common_tasks(tasks: Mapping[int, TaskSpec]) -> dict[int, TaskSpec]:
    """Tasks by their ids, without what levels of one ladder differ in beside the level itself.

    These are ranges of training that end at the level, and the further levels of tests, which change no number of a
    comparison.
    """
    ladders: dict[bytes, list[int]] = {}
    for key, task in tasks.items():
        ladder = _without_level(task).model_copy(update={"train": dict.fromkeys(task.train), "evaluate": ()})
        ladders.setdefault(ladder.canonical, []).append(key)
    common: dict[int, TaskSpec] = {}
    for keys in ladders.values():
        train: dict[int, dict[str, Any]] = {key: dict(tasks[key].train) for key in keys}
        for name in tasks[keys[0]].train:
            written = {key: own[name] for key, own in train.items() if isinstance(own[name], str)}
            alike = common_training((value, tasks[key].level) for key, value in written.items())
            for key, value in written.items():
                train[key][name] = alike[value, tasks[key].level]
        common |= {key: tasks[key].model_copy(update={"train": train[key], "evaluate": ()}) for key in keys}
    return common


def _without_level(task: TaskSpec) -> TaskSpec:
    options = {name: value for name, value in task.options.items() if name != task.complexity}
    return task.model_copy(update={"options": options})
