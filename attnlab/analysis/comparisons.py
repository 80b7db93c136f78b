"""Comparisons of variants level by level, which may be looked at after every seed.

On each level the accuracies of two variants are compared seed by seed; a seed gives both the same data and, where the
shapes allow it, the same initial weights. A level is decided by the evidence of :mod:`attnlab.analysis.sequential`:

    ahead, behind   the mean difference is not 0; an accuracy below chance counts as chance
    alike           in most seeds the two are within a margin of each other

and a comparison by its levels:

    ahead, behind   at least one level is decided that way, and none the other way
    crossing        levels are decided both ways
    alike           every level that was run is alike

The chance of any wrong "ahead" or "behind" is at most ``error`` over all levels and comparisons of a question, however
often it is looked at and whichever levels get more seeds; that of a wrong "alike" too. A single variant is asked on
each level whether most seeds solve it.

Letters  N seeds, L levels, P comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from attnlab.analysis._training_ranges import common_training
from attnlab.analysis.levels import half_solved
from attnlab.analysis.sequential import confidence_sequence, seeds_needed
from attnlab.records import Record
from attnlab.run_labels import RunLabels, one_of_each
from attnlab.specs import ModelSpec, RunSpec, TaskSpec

Outcome = Literal["ahead", "behind", "alike", "crossing", "solved", "unsolved", "undecided"]
BySeed = Mapping[int, Record]
SIZES = ("layers", "width", "heads", "mlp_ratio")
"""What differs between variants whose budgets were matched."""


@dataclass(frozen=True)
class Question:
    """What is asked of every pair of variants."""

    equal: float = 0.02
    """Two accuracies are alike if they differ by no more than this."""
    error: float = 0.05
    """The probability of any wrong answer, over all levels and comparisons."""
    comparisons: int = 1
    """Comparisons that share that probability."""
    levels: int = 1
    """Levels of the ladder, where more of them might have been run than were."""


@dataclass(frozen=True)
class LevelComparison:
    """Two variants on one level, or one variant by itself."""

    level: Any
    ours: BySeed
    theirs: BySeed
    """Records of the reference; the same as ``ours`` for a single variant."""
    question: Question
    levels: int
    """Levels of the ladder, run or not: each might have been decided."""

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that both have, in the order in which they are added."""
        return tuple(sorted(self.ours.keys() & self.theirs.keys()))

    @cached_property
    def differences(self) -> list[float]:
        """Accuracy above chance minus that of the reference, for each seed."""
        return [above_chance(self.ours[seed]) - above_chance(self.theirs[seed]) for seed in self.seeds]

    @cached_property
    def bets(self) -> list[float]:
        """The differences as shares of the largest there can be, in [-1, 1]: between chance and a perfect score."""
        return [one / self.largest for one in self.differences]

    @cached_property
    def largest(self) -> float:
        """The largest difference that there can be."""
        runs = [run for side in (self.ours, self.theirs) for run in side.values()]
        return max(map(span, runs), default=1.0)

    @property
    def alike(self) -> list[float]:
        """1 for each seed in which the two are within the margin, -1 for the others."""
        raw = [accuracy(self.ours[seed]) - accuracy(self.theirs[seed]) for seed in self.seeds]
        return [1.0 if abs(one) <= self.question.equal + 1e-12 else -1.0 for one in raw]

    @cached_property
    def outcome(self) -> Outcome:
        """What is decided on this level."""
        for outcome, needed in self.needed.items():
            if not needed:
                return outcome
        return "undecided"

    @cached_property
    def needed(self) -> Mapping[Outcome, float]:
        """Further seeds, if they are like those run, until each outcome is decided; infinity where they lead away."""
        sign = math.log(2 * self.levels * self.question.comparisons / self.question.error)
        alike = math.log(self.question.comparisons / self.question.error)
        ahead = seeds_needed(self.bets, sign)
        behind = seeds_needed([-one for one in self.bets], sign)
        return {"ahead": ahead, "behind": behind, "alike": seeds_needed(self.alike, alike)}

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The mean difference, in an interval that holds at every number of seeds and on all levels at once."""
        error = self.question.error / (self.levels * self.question.comparisons)
        low, high = confidence_sequence(self.bets, error)
        return low * self.largest, high * self.largest

    @property
    def seconds(self) -> float:
        """Mean seconds of a run on this level; 0 where none is known."""
        runs = [*self.ours.values(), *self.theirs.values()]
        seconds = [float(one.environment.get("seconds", 0.0)) for one in runs]
        return sum(seconds) / len(seconds) if seconds else 0.0


@dataclass(frozen=True)
class SolvedLevel(LevelComparison):
    """One variant on one level: do most seeds solve it?"""

    @cached_property
    def differences(self) -> list[float]:
        """1 for each seed that solves the level, -1 for the others."""
        return [1.0 if self.ours[seed].solved else -1.0 for seed in self.seeds]

    @property
    def largest(self) -> float:
        """1, of a difference that is 1 or -1."""
        return 1.0

    @cached_property
    def needed(self) -> Mapping[Outcome, float]:
        """Further seeds, if they are like those run, until most are known to solve the level, or not to."""
        sign = math.log(2 * self.levels * self.question.comparisons / self.question.error)
        solved = seeds_needed(self.differences, sign)
        return {"solved": solved, "unsolved": seeds_needed([-one for one in self.differences], sign)}


@dataclass(frozen=True)
class Comparison:
    """A variant and the reference, on the levels of one ladder."""

    task: str
    variant: str
    reference: str
    """Empty for a single variant."""
    levels: tuple[Any, ...]
    """All levels of the ladder, easiest first."""
    ours: Mapping[Any, BySeed]
    theirs: Mapping[Any, BySeed]
    question: Question = field(default_factory=Question)

    @cached_property
    def by_level(self) -> dict[Any, LevelComparison]:
        """The levels that both were run on, easiest first."""
        kind = LevelComparison if self.reference else SolvedLevel
        found: dict[Any, LevelComparison] = {}
        for level in self.levels:
            ours, theirs = self.ours.get(level, {}), self.theirs.get(level, {})
            if ours.keys() & theirs.keys():
                found[level] = kind(level, ours, theirs, self.question, max(len(self.levels), self.question.levels))
        return found

    @cached_property
    def outcome(self) -> Outcome:
        """What is decided; of a single variant, ``solved`` where every level that was run is decided."""
        outcomes = [one.outcome for one in self.by_level.values()]
        if not self.reference:
            return "solved" if outcomes and "undecided" not in outcomes else "undecided"
        if "ahead" in outcomes or "behind" in outcomes:
            both = "ahead" in outcomes and "behind" in outcomes
            return "crossing" if both else "ahead" if "ahead" in outcomes else "behind"
        return "alike" if outcomes and set(outcomes) == {"alike"} else "undecided"

    @property
    def seeds(self) -> int:
        """Seeds of the level that has most."""
        return max((len(one.seeds) for one in self.by_level.values()), default=0)

    def deciding(self) -> tuple[list[LevelComparison], float]:
        """The levels that decide with fewest further seeds, and how many runs that takes if they are like those run.

        Returns:
            The levels that want another seed, most wanting first, none where it is decided; and the number of runs,
            infinity where nothing run so far tells which way it goes.
        """
        if self.outcome != "undecided" or not self.by_level:
            return [], 0.0 if self.by_level else math.inf
        shown = list(self.by_level.values())
        wanting = [one for one in shown if one.outcome == "undecided"]
        sides = 2 if self.reference else 1
        if not self.reference:
            costs = {one.level: min(one.needed.values()) for one in wanting}
            return sorted(wanting, key=lambda one: -costs[one.level]), sum(costs.values())
        first = min(wanting, key=lambda one: min(one.needed["ahead"], one.needed["behind"]))
        different = min(first.needed["ahead"], first.needed["behind"])
        unlike = [one for one in shown if one.needed["alike"]]
        same = sum(one.needed["alike"] for one in unlike)
        if math.isinf(different) and math.isinf(same):
            return [min(wanting, key=lambda one: len(one.seeds))], math.inf
        if different <= same:
            return [first], sides * different
        return sorted(unlike, key=lambda one: -one.needed["alike"]), sides * same

    def solved_up_to(self, runs: Mapping[Any, BySeed]) -> Any:
        """The highest level that at least half of the seeds solve, if every easier level that was run is solved too.

        Args:
            runs: ``ours`` or ``theirs``.

        Returns:
            The level; None if there is none.
        """
        highest, solved = None, self.solved_levels(runs)
        for level in filter(runs.get, self.levels):
            if level not in solved:
                break
            highest = level
        return highest

    def solved_levels(self, runs: Mapping[Any, BySeed]) -> list[Any]:
        """The levels that at least half of the seeds solve.

        Args:
            runs: ``ours`` or ``theirs``.

        Returns:
            The levels, the easiest first.
        """
        ran = filter(runs.get, self.levels)
        return [level for level in ran if half_solved([record.solved for record in runs[level].values()])]


def accuracy(record: Record) -> float:
    """The accuracy of a run; that of chance where a diverged run has none.

    Args:
        record: A run that has not failed.

    Returns:
        A share of 1.
    """
    mean = record.accuracy.mean
    return record.accuracy.chance if math.isnan(mean) else mean


def span(record: Record) -> float:
    """What there is between chance and a perfect score; 1 where there is nothing.

    Args:
        record: A run that has not failed.

    Returns:
        A share of 1.
    """
    return 1 - record.accuracy.chance if record.accuracy.chance < 1 else 1.0


def above_chance(record: Record) -> float:
    """The accuracy above chance; 0 for one below chance, and the accuracy itself where chance is 1.

    Args:
        record: A run that has not failed.

    Returns:
        A share of 1.
    """
    chance = 1 - span(record)
    return max(accuracy(record) - chance, 0.0)


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
    variants: dict[tuple[Any, ...], dict[tuple[Any, ...], list[RunSpec]]] = {}
    settings = _Settings(specs)
    for spec in specs:
        variants.setdefault(settings.of(spec), {}).setdefault(settings.variant(spec), []).append(spec)
    if all(len(group) == 1 for group in variants.values()):  # it is another field that differs
        merged: dict[tuple[Any, ...], dict[tuple[Any, ...], list[RunSpec]]] = {}
        for key, group in variants.items():
            merged.setdefault(key[:1], {}).update(group)
        variants = merged
    result = []
    for group in variants.values():
        first, *others = group.values()
        reference = _runs(first)
        for runs in others:
            name, other = settings.name(runs[0]), settings.name(first[0])
            result.append(Pair(runs[0].task.name, name, other, _runs(runs), reference))
        if not others:
            result.append(Pair(first[0].task.name, settings.name(first[0]), "", reference, reference))
    return result


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
    levels: dict[Any, dict[int, RunSpec]] = {}
    for spec in specs:
        levels.setdefault(spec.task.level, {})[spec.seed] = spec
    return levels


def _finished(runs: Runs, records: Mapping[str, Record]) -> dict[Any, BySeed]:
    found: dict[Any, BySeed] = {}
    for level, by_seed in runs.items():
        own = {seed: records[spec.id] for seed, spec in by_seed.items() if spec.id in records}
        if own := {seed: record for seed, record in own.items() if record.status != "failed"}:
            found[level] = own
    return found


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
