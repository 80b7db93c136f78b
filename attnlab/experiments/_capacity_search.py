"""Adaptive capacity search: bisection over the levels of a ladder, with seeds added around the capacity.

Each variant is searched by itself. First two boundaries are bracketed: that of the max solved level (half of the seeds
solve it) and that of C50 (halfway from chance to 1). With a few seeds, the middle of the levels between the last passed
and the first failed level is run until the two are neighbors. Then seeds are added on the levels around both
boundaries, one round after the other, and then on those inside the interval of C50, until that interval is as narrow as
requested, measured in levels, or all seeds are used. The interval is that of the report: it is computed from the runs
that there are, and a level that was not run counts as nothing. A level on which all runs failed counts as not passed.

The ends of an interval of C50 are levels, so that none is narrower than one level. Where the boundary is sharp and all
seeds agree, that takes six seeds on both sides of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.analysis.capacity import curve
from attnlab.analysis.levels import boundary, half_solved, share_above_chance, share_sample
from attnlab.analysis.statistics import Sample
from attnlab.records import Record
from attnlab.specs import RunSpec

FIRST_SEEDS = 2
"""Seeds that a level gets in its first round."""

Run = Callable[[Sequence[RunSpec]], Sequence[Record]]
"""Runs those of some runs that have no record yet, and returns the records of all."""


@dataclass
class VariantSearch:
    """The ladder of one variant: its levels, easiest first, each with a run for every seed."""

    levels: Sequence[Any]
    runs: Sequence[Sequence[RunSpec]]
    records: dict[int, list[Record]] = field(default_factory=dict)
    """The records of each level that was run, by its index; failed runs are left out, so the list may be empty."""
    seeds: dict[int, int] = field(default_factory=dict)
    """How many seeds of each level are requested."""
    is_narrow: bool = False

    def next_runs(self) -> list[RunSpec]:
        """Runs of the next round."""
        return [spec for level, count in self.seeds.items() for spec in self.runs[level][:count]]

    def take(self, records: dict[str, Record]) -> None:
        """Add the records of a round, by the id of the run."""
        for level, count in self.seeds.items():
            finished = [records[spec.id] for spec in self.runs[level][:count] if spec.id in records]
            self.records[level] = [record for record in finished if record.status != "failed"]

    def advance(self, width: float) -> bool:
        """Decide on the next round; False once the search is finished.

        Args:
            width: The interval of C50 that is narrow enough, in levels.
        """
        boundaries = [self.boundary(passes) for passes in (solved, halfway)]
        for below, above in boundaries:
            if above - below > 1:
                self.seeds[(below + above) // 2] = min(FIRST_SEEDS, len(self.runs[0]))
                return True
        low, high = self.interval()
        around = {level for ends in boundaries for level in ends if 0 <= level < len(self.levels)}
        inside = {level for level in self.seeds if low <= level <= high}
        short = [level for level in sorted(around) if self.seeds.get(level, 0) < len(self.runs[level])]
        short = short or [level for level in sorted(inside) if self.seeds[level] < len(self.runs[level])]
        self.is_narrow = high - low <= width
        if not short or self.is_narrow:
            return False
        for level in short:
            self.seeds[level] = max(FIRST_SEEDS, self.seeds.get(level, 0) + 1)
        return True

    def boundary(self, passes: Callable[[Sequence[Record]], bool]) -> tuple[int, int]:
        """The first level that is not passed and the highest passed level below it, as indices."""
        tested = [self.records.get(level) for level in range(len(self.levels))]
        return boundary([None if records is None else bool(records) and passes(records) for records in tested])

    def max_solved(self) -> Any:
        """The highest level that half of the seeds solve, if every lower level that was run is solved too."""
        below, _ = self.boundary(solved)
        return self.levels[below] if below >= 0 else None

    def interval(self) -> tuple[float, float]:
        """The interval of C50 as indices of levels: -1 is below the first, and their number above the last.

        It spans everything while there are too few seeds for an interval.
        """
        positions = [level + 1.0 for level in range(len(self.levels))]
        _, (low, high) = curve(positions, [self._shares(level) for level in range(len(self.levels))]).capacity(0.5)
        if math.isnan(low):
            return -1.0, float(len(self.levels))
        top = len(self.levels) + 1.0
        return min(low, top) - 1, min(high, top) - 1

    def _shares(self, level: int) -> Sample:
        """The shares above chance of the runs of a level; empty where it was not run."""
        records = self.records.get(level)
        if not records:
            return Sample([])
        accuracies, chance = [record.accuracy.mean for record in records], records[0].accuracy.chance
        return share_sample(accuracies, chance, [record.spec.seed for record in records])


def solved(records: Sequence[Record]) -> bool:
    """Whether at least half of the seeds solve the level."""
    return half_solved([record.solved for record in records])


def halfway(records: Sequence[Record]) -> bool:
    """Whether the mean accuracy is at least halfway from chance to 1."""
    return sum(map(share, records)) / len(records) >= 0.5


def share(record: Record) -> float:
    """The accuracy of a run as a share of the way from chance to 1."""
    return share_above_chance(record.accuracy.mean, record.accuracy.chance)


@dataclass(frozen=True)
class CapacitySearch:
    """The result of an adaptive sweep."""

    records: list[Record]
    planned: int
    """Runs of the whole grid."""
    decided: int
    """Variants of which the interval of C50 is as narrow as requested."""
    searches: tuple[VariantSearch, ...]

    @property
    def saved(self) -> int:
        """Runs that were not needed."""
        return self.planned - len(self.records)


def search_capacity(specs: Sequence[RunSpec], run: Run, width: float = 1.0) -> CapacitySearch:
    """Find the max solved level and C50 of every variant with few runs.

    Args:
        specs: The whole grid.
        run: Runs what has no record yet and returns the records, for all variants at once.
        width: The interval of C50 that is narrow enough, in levels.
    """
    searches = variant_searches(specs)
    records: dict[str, Record] = {}
    active = list(searches)
    while active := [search for search in active if search.advance(width)]:
        wanted = [spec for search in active for spec in search.next_runs() if spec.id not in records]
        records |= {record.id: record for record in run(wanted)}
        for search in active:
            search.take(records)
    decided = sum(search.is_narrow for search in searches)
    return CapacitySearch(list(records.values()), len(specs), decided, tuple(searches))


def variant_searches(specs: Sequence[RunSpec]) -> list[VariantSearch]:
    """The grid by variants: specs that differ only in the level and the seed; tuned values make variants too."""
    ladders: dict[tuple[bytes, ...], dict[Any, list[RunSpec]]] = {}
    for spec in specs:
        options = {name: value for name, value in spec.task.options.items() if name != spec.task.complexity}
        task = spec.task.model_copy(update={"options": options})
        key = (task.canonical, spec.model.canonical, spec.train.canonical)
        ladders.setdefault(key, {}).setdefault(spec.task.level, []).append(spec)
    return [VariantSearch(list(levels), list(levels.values())) for levels in ladders.values()]
