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
often it is looked at and whichever levels get more seeds; that of a wrong "alike" is at most ``error`` too. A single
variant is asked on each level whether most seeds solve it.

Letters  N seeds, L levels, P comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from attnlab.analysis.levels import half_solved
from attnlab.analysis.sequential import confidence_sequence, seeds_needed
from attnlab.records import Record

Outcome = Literal["ahead", "behind", "alike", "crossing", "solved", "unsolved", "undecided"]
BySeed = Mapping[int, Record]


@dataclass(frozen=True)
class Question:
    """What is asked of every pair of variants."""

    equal: float = 0.02
    """Two accuracies are alike if they differ by no more than this."""
    error: float = 0.05
    """The probability of any wrong answer, over all levels and comparisons."""
    comparisons: int = 1
    """Comparisons that share that probability: all that might be decided, whether they have been run or not."""
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
            return sorted(wanting, key=lambda one: -costs[one.level]), self._seeds_in_all(costs)
        first = min(wanting, key=lambda one: min(one.needed["ahead"], one.needed["behind"]))
        different = min(first.needed["ahead"], first.needed["behind"])
        unlike = [one for one in shown if one.needed["alike"]]
        same = self._seeds_in_all({one.level: one.needed["alike"] for one in unlike})
        if math.isinf(different) and math.isinf(same):
            return [min(wanting, key=lambda one: len(one.seeds))], math.inf
        if different <= same:
            return [first], sides * different
        return sorted(unlike, key=lambda one: -one.needed["alike"]), sides * same

    def _seeds_in_all(self, needed: Mapping[Any, float]) -> float:
        """Further seeds of all levels: those of levels on which the same runs are tested are the same seeds."""
        most: dict[str, float] = {}
        for level, seeds in needed.items():
            run = min(record.id for record in self.ours[level].values())
            most[run] = max(most.get(run, 0.0), seeds)
        return sum(most.values())

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
