"""Adaptive capacity: a ladder climbed by bisection, seeds added where the cliff is.

Each variant is taken by itself. First its cliffs are bracketed, that of reach (half of the seeds solve it) and that of
C50 (halfway from chance to 1): with a few seeds, the middle of the levels that are still open is run until two
neighbors are left, the lower one passed and the higher one not. Then seeds are added on the
levels around the cliff, one round after the other, until the interval of C50 is as narrow as asked, measured in
levels, or every seed is spent. Levels below the cliff count as solved and levels above as not: that is what the saved
runs would have to contradict. A level whose runs all failed counts as not passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.analysis.statistics import capacity
from attnlab.records import Record
from attnlab.specs import RunSpec

FIRST = 2
"""Seeds that a level gets at first."""

Run = Callable[[Sequence[RunSpec]], Sequence[Record]]
"""Runs what is missing of some runs and gives their records."""


@dataclass
class VariantSearch:
    """One variant's ladder: its levels, easiest first, each with a run for every seed."""

    levels: Sequence[Any]
    runs: Sequence[Sequence[RunSpec]]
    found: dict[int, list[Record]] = field(default_factory=dict)
    """What was run on each level; failed runs are left out, so there may be none."""
    seeds: dict[int, int] = field(default_factory=dict)
    """How many seeds of each level are wanted."""
    is_narrow: bool = False

    def next_runs(self) -> list[RunSpec]:
        """Runs of the next round."""
        return [spec for level, count in self.seeds.items() for spec in self.runs[level][:count]]

    def take(self, records: dict[str, Record]) -> None:
        """Take up what was run."""
        for level, count in self.seeds.items():
            there = [records[spec.id] for spec in self.runs[level][:count] if spec.id in records]
            self.found[level] = [record for record in there if record.status != "failed"]

    def advance(self, width: float) -> bool:
        """Decide on the next round; False once there is nothing left to learn.

        Args:
            width: The interval of C50 that is narrow enough, in levels.
        """
        cliffs = [self.cliff(passes) for passes in (solved, halfway)]
        for below, above in cliffs:
            if above - below > 1:
                self.seeds[(below + above) // 2] = min(FIRST, len(self.runs[0]))
                return True
        around = {level for cliff in cliffs for level in cliff if 0 <= level < len(self.levels)}
        short = [level for level in sorted(around) if self.seeds.get(level, 0) < len(self.runs[level])]
        self.is_narrow = self.spread() <= width
        if not short or self.is_narrow:
            return False
        for level in short:
            self.seeds[level] = max(FIRST, self.seeds.get(level, 0) + 1)
        return True

    def cliff(self, passes: Callable[[Sequence[Record]], bool]) -> tuple[int, int]:
        """The highest level below the lowest that is not passed, and that one; -1 and the number of levels if none is."""
        passed = [level for level, records in self.found.items() if records and passes(records)]
        missed = [level for level, records in self.found.items() if not (records and passes(records))]
        above = min(missed, default=len(self.levels))
        return max((level for level in passed if level < above), default=-1), above

    def reach(self) -> Any:
        """The highest level that half of the seeds solve, if every lower one that was run is solved too."""
        below, _ = self.cliff(solved)
        return self.levels[below] if below >= 0 else None

    def spread(self) -> float:
        """Width of the interval of C50, in levels; infinite while a level at the cliff has fewer than two seeds."""
        below, above = self.cliff(halfway)
        near = [level for level in (below, above) if 0 <= level < len(self.levels)]
        if any(len(self.found.get(level, [])) < 2 for level in near):
            return math.inf
        places = [level + 1.0 for level in range(len(self.levels))]
        cells = [self._shares(level, below) for level in range(len(self.levels))]
        _, (low, high) = capacity(places, cells, 0.5)
        top = len(self.levels) + 1.0
        return min(high, top) - min(low, top)

    def _shares(self, level: int, below: int) -> list[float]:
        """What was seen on a level, or what its side of the cliff says."""
        seen = [share(record) for record in self.found.get(level, [])]
        return seen or [1.0 if level <= below else 0.0] * FIRST


def solved(records: Sequence[Record]) -> bool:
    """Whether at least half of the seeds solve it."""
    return 2 * sum(record.solved for record in records) >= len(records)


def halfway(records: Sequence[Record]) -> bool:
    """Whether the mean is at least halfway from chance to 1."""
    return sum(map(share, records)) / len(records) >= 0.5


@dataclass(frozen=True)
class CapacitySearch:
    """What an adaptive sweep has come to."""

    records: list[Record]
    planned: int
    """Runs that the whole grid would have taken."""
    decided: int
    """Variants whose C50 came out as narrow as asked."""
    searches: tuple[VariantSearch, ...]

    @property
    def saved(self) -> int:
        """Runs that were not needed."""
        return self.planned - len(self.records)


def search_capacity(specs: Sequence[RunSpec], run: Run, width: float = 1.0) -> CapacitySearch:
    """Find the reach of every variant with as few runs as it takes.

    Args:
        specs: The whole grid.
        run: Runs what is missing and gives the records, for all variants at once.
        width: The interval of C50 that is narrow enough, in levels.
    """
    ascents = variant_searches(specs)
    records: dict[str, Record] = {}
    going = list(ascents)
    while going := [ascent for ascent in going if ascent.advance(width)]:
        wanted = [spec for ascent in going for spec in ascent.next_runs() if spec.id not in records]
        records |= {record.id: record for record in run(wanted)}
        for ascent in going:
            ascent.take(records)
    return CapacitySearch(
        list(records.values()), len(specs), sum(ascent.is_narrow for ascent in ascents), tuple(ascents)
    )


def variant_searches(specs: Sequence[RunSpec]) -> list[VariantSearch]:
    """The grid by variants: all that differs but the level and the seed, tuned values included."""
    ladders: dict[tuple[bytes, ...], dict[Any, list[RunSpec]]] = {}
    for spec in specs:
        options = {name: value for name, value in spec.task.options.items() if name != spec.task.complexity}
        task = spec.task.model_copy(update={"options": options})
        level = spec.task.level
        ladders.setdefault((task.canonical, spec.model.canonical, spec.train.canonical), {}).setdefault(level, [])
        ladders[task.canonical, spec.model.canonical, spec.train.canonical][level].append(spec)
    return [VariantSearch(list(levels), list(levels.values())) for levels in ladders.values()]


def share(record: Record) -> float:
    """How far a run is on the way from chance to 1."""
    span = 1 - record.accuracy.chance
    return (record.accuracy.mean - record.accuracy.chance) / span if span > 0 else record.accuracy.mean
