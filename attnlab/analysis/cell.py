"""A cell of a grid: the seeds of one variant on one level, and how it is made of their runs.

Where a field is tuned (the learning rate), a cell takes the value with the best validation accuracy; the test split is
never used to choose. The runs of a seed are averaged: a seed counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from attnlab.analysis._draws import Interval, Sample
from attnlab.analysis._observations import Observation, accuracy_bounds, metric_bounds
from attnlab.analysis.levels import half_solved, share_above_chance, share_sample
from attnlab.analysis.statistics import UNKNOWN, LazyIntervals, average
from attnlab.analysis.time_to_solve import FOLLOWED, SolveTimes
from attnlab.records import SOLVED, Record

Label = tuple[str, ...]
"""The fields of a row, or the values of tuned fields, as text."""


@dataclass(frozen=True)
class Cell:
    """One variant on one level."""

    values: tuple[float, ...] = ()
    """The metric, one number for each seed that has it."""
    solved: tuple[bool, ...] = ()
    """Whether each run is solved."""
    bounds: Interval | None = None
    """The lowest and the highest value that the metric can have here; None where it is unbounded."""
    solve_rates: tuple[float, ...] = ()
    """The share of the runs of each seed that are solved: 0 or 1, unless the runs of a seed are averaged."""
    chance: float = math.nan
    chosen: str = ""
    """The tuned fields and their chosen values."""
    tried: int = 1
    """How many combinations of tuned values were tried."""
    failed: int = 0
    """Runs that failed."""
    diverged: int = 0
    """Runs that diverged."""
    accuracies: tuple[float, ...] = ()
    """The accuracy of each seed."""
    seeds: tuple[int, ...] = ()
    """The seeds of the accuracies."""
    candidates: tuple[tuple[Label, float], ...] = ()
    """The tuned values that were tried, with their validation accuracies; none where nothing was chosen."""
    times: SolveTimes | None = None
    """The times until the runs were solved, where the metric is one; the mean counts others with their budget."""
    place: int = field(default=0, compare=False, repr=False)
    """Its place among the cells of the panel, whose intervals are computed when they are first asked for."""
    ends: LazyIntervals | None = field(default=None, compare=False, repr=False)
    solving: LazyIntervals | None = field(default=None, compare=False, repr=False)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the mean, over seeds."""
        return UNKNOWN if self.ends is None else self.ends[self.place]

    @property
    def solve_interval(self) -> Interval:
        """The 95 % interval of P(solve), the probability that a run is solved."""
        return UNKNOWN if self.solving is None else self.solving[self.place]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return average(self.values)

    @property
    def interval_kind(self) -> str:
        """Whose interval it is: ``gaffke`` of a bounded metric, ``student`` of an unbounded one; empty without one."""
        return "" if math.isnan(self.interval[0]) else "student" if self.bounds is None else "gaffke"

    @property
    def solve_rate(self) -> float:
        """The share of runs that are solved, averaged over seeds; an estimate of P(solve)."""
        return average(self.solve_rates)

    @cached_property
    def share_sample(self) -> Sample:
        """The shares with their bounds and seeds, for intervals."""
        return share_sample(self.accuracies, self.chance, self.seeds)

    @cached_property
    def shares(self) -> list[float]:
        """The accuracy of each seed as a share of the way from chance to 1."""
        return [share_above_chance(accuracy, self.chance) for accuracy in self.accuracies]

    @property
    def passed(self) -> bool | None:
        """Whether at least half of the runs solve the level; None where there is no run, false where all failed."""
        if not self.solved:
            return False if self.failed else None
        return half_solved(self.solved)


def cell_of(candidates: dict[Label, list[Observation]], metric: str, tuned: Sequence[str]) -> Cell:
    """Make a cell of the seeds of the candidate with the best validation accuracy; the first of several that are equal.

    Args:
        candidates: The runs of the cell by the values of their tuned fields.
        metric: The metric.
        tuned: The names of the tuned fields.

    Returns:
        The cell; its intervals are not computed yet.
    """
    best, scores = next(iter(candidates)), dict[Label, float]()
    if len(candidates) > 1:
        scores = {candidate: mean_validation_accuracy(own) for candidate, own in candidates.items()}
        best = max(scores, key=lambda candidate: scores[candidate])
    runs = sorted(candidates[best], key=lambda one: one.record.spec.seed)
    finished = [one for one in runs if one.record.status != "failed"]
    seeds = [one.record.spec.seed for one in finished]
    tested = [(one.evaluation or one.record).accuracy for one in finished]
    measured = [score.mean for score in tested]
    solved = tuple(
        number >= SOLVED and one.record.status == "done" for one, number in zip(finished, measured, strict=True)
    )
    accuracies = _by_seed(seeds, measured)
    numbers = measured if metric == "accuracy" else [one.metric(metric) for one in finished]
    values = accuracies if metric == "accuracy" else _by_seed(seeds, numbers)
    chances = [score.chance for score in tested]
    bounds = accuracy_bounds(chances, measured) if metric == "accuracy" else metric_bounds(metric, finished, numbers)
    return Cell(
        values=tuple(values.values()),
        bounds=bounds,
        solve_rates=tuple(_by_seed(seeds, list(map(float, solved))).values()),
        solved=solved,
        chance=_mean(tuple(chances)),
        chosen=", ".join(f"{name} {value}" for name, value in zip(tuned, best, strict=True)),
        tried=len(candidates),
        candidates=tuple(scores.items()),
        failed=len(runs) - len(finished),
        diverged=sum(one.record.status == "diverged" for one in finished),
        accuracies=tuple(accuracies.values()),
        seeds=tuple(accuracies),
        times=_times(finished, FOLLOWED[metric], solved) if metric in FOLLOWED else None,
    )


def _times(runs: Sequence[Observation], time: Callable[[Record], float], solved: Sequence[bool]) -> SolveTimes:
    """The times of those runs that have one; there is none on another level than a run's own."""
    numbers = [math.nan if one.evaluation else time(one.record) for one in runs]
    known = [pair for pair in zip(numbers, solved, strict=True) if not math.isnan(pair[0])]
    return SolveTimes(tuple(time for time, _ in known), tuple(one for _, one in known))


@lru_cache(maxsize=4096)
def _mean(numbers: tuple[float, ...]) -> float:
    """The mean of the chances of a cell, which are those of many other cells too."""
    return average(numbers)


def mean_validation_accuracy(runs: Sequence[Observation]) -> float:
    """Average the accuracy at the last validation.

    Args:
        runs: Observations of the runs of one candidate.

    Returns:
        The mean; a diverged run counts as 0, a failed one is left out. -inf without runs.
    """
    accuracies = [max(0.0, one.record.validation_accuracy) for one in runs if not one.failed]
    return average(accuracies) if accuracies else -math.inf


def _by_seed(seeds: Sequence[int], numbers: Sequence[float]) -> dict[int, float]:
    """The mean of the numbers of each seed; nan is left out."""
    known = {seed: number for seed, number in zip(seeds, numbers, strict=True) if number == number}
    if len(known) == len(numbers):
        return known
    by_seed: dict[int, list[float]] = {}
    for seed, number in zip(seeds, numbers, strict=True):
        if not math.isnan(number):
            by_seed.setdefault(seed, []).append(number)
    return {seed: average(own) for seed, own in by_seed.items()}
