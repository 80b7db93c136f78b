"""Sweeps that end with an answer: seeds and levels are added where they decide most, until all comparisons are decided.

Each comparison begins with a seed on each of the levels around the capacity of both variants, found by bisection. Then
seeds are added, one round after the other, on the level that needs fewest more of them to be decided as different, or
on all levels together where being alike takes fewer. Both variants of a comparison run every seed that either runs.
Which level comes next depends on earlier seeds alone, so the evidence stays valid (see
:mod:`attnlab.analysis.sequential`). One variant is often several times as slow as the other, by its steps or because it
solves nothing; a round therefore has more runs than workers where it is known to take more seeds.

A search ends where every comparison is decided, where the plan has no further seeds, or when its budget is spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.analysis.comparisons import Comparison, Question
from attnlab.analysis.levels import boundary, share_above_chance
from attnlab.analysis.pairing import Pair, pairs, with_questions
from attnlab.records import Record
from attnlab.specs import RunSpec

FIRST_SEEDS = 1
"""Seeds that a level gets in its first round: more are spent where they decide, and move the bisection if they must."""
QUEUE = 3
"""Seeds that a round may add for each that is trained at the same time."""

Run = Callable[[Sequence[RunSpec]], Sequence[Record]]
"""Runs those of some runs that have no record yet, and returns the records of all that have one."""


@dataclass(frozen=True)
class Round:
    """Why some runs were chosen."""

    variant: str
    reference: str
    level: Any
    seeds: int
    """Seeds that both variants have on the level after the round."""
    why: str


@dataclass
class PairSearch:
    """The search of one comparison."""

    pair: Pair
    question: Question
    chosen: list[Round] = field(default_factory=list)

    def compared(self, records: dict[str, Record]) -> Comparison:
        """The comparison as it stands.

        Args:
            records: What has been run, by id.

        Returns:
            The comparison.
        """
        return self.pair.compared(records, self.question)

    def next_runs(self, records: dict[str, Record], at_most: int) -> list[RunSpec]:
        """Choose the runs of the next round.

        Args:
            records: What has been run, by id.
            at_most: Seeds of a level that a round trains at the same time.

        Returns:
            Runs that have no record yet; none where the comparison is decided or the plan has no further seeds.
        """
        comparison = self.compared(records)
        if comparison.outcome != "undecided":
            return []
        begun = [
            spec
            for level in dict.fromkeys(self._unbracketed(comparison))
            for spec in self._add(comparison, level, FIRST_SEEDS, records, "to find where accuracy falls")
        ]
        if begun:
            return begun
        for one in comparison.deciding()[0]:
            likely = min(one.needed.values())
            more = 1 if math.isinf(likely) else int(max(1, min(likely, QUEUE * at_most)))
            if runs := self._add(comparison, one.level, len(one.seeds) + more, records, _reason(one.needed)):
                return runs
        return []

    def _unbracketed(self, comparison: Comparison) -> list[Any]:
        """The next level of the bisection for each variant, where there is one."""
        found = []
        for runs in (comparison.ours, comparison.theirs):
            states: list[bool | None] = []
            for level in comparison.levels:
                shares = [
                    share_above_chance(record.accuracy.mean, record.accuracy.chance)
                    for record in runs.get(level, {}).values()
                ]
                states.append(sum(shares) / len(shares) >= 0.5 if shares else None)
            below, above = boundary(states)
            if above - below > 1:
                found.append(comparison.levels[(below + above) // 2])
        return found

    def _add(
        self, comparison: Comparison, level: Any, count: int, records: dict[str, Record], why: str
    ) -> list[RunSpec]:
        """The runs that give a level so many seeds on both sides; failed ones are replaced by further seeds."""
        ours, theirs = self.pair.ours[level], self.pair.theirs[level]
        seeds = sorted(ours.keys() & theirs.keys())
        have = comparison.by_level[level].seeds if level in comparison.by_level else ()
        tried = [seed for seed in seeds if ours[seed].id in records and theirs[seed].id in records]
        new = [seed for seed in seeds if seed not in tried][: max(0, count - len(have))]
        if not new:
            return []
        self.chosen.append(Round(self.pair.variant, self.pair.reference, level, len(have) + len(new), why))
        runs = {side[seed].id: side[seed] for side in (ours, theirs) for seed in new}
        return [spec for run, spec in runs.items() if run not in records]


def _reason(needed: Any) -> str:
    likely = min(needed, key=needed.get)
    if math.isinf(needed[likely]):
        return "undecided either way"
    return f"{likely} with about {needed[likely]:.0f} more seeds like these"


@dataclass(frozen=True)
class DecisionSearch:
    """The result of a sweep that ends with an answer."""

    records: list[Record]
    planned: int
    """Runs of the whole grid."""
    comparisons: tuple[Comparison, ...]
    rounds: tuple[Round, ...]
    """What was chosen this time, in order."""
    spent: bool = False
    """Whether the budget ended it."""

    @property
    def undecided(self) -> list[Comparison]:
        """Comparisons without an answer."""
        return [one for one in self.comparisons if one.outcome == "undecided"]


def search_decisions(
    specs: Sequence[RunSpec],
    run: Run,
    question: Callable[[str], Question],
    *,
    done: Sequence[Record] = (),
    at_once: int = 2,
    spent: Callable[[], bool] = lambda: False,
) -> DecisionSearch:
    """Run what it takes to decide every comparison.

    Args:
        specs: The whole grid; its seeds are the most that a level may get.
        run: Runs what has no record yet and returns the records; fewer where it was stopped.
        question: What is asked on the ladder of a name, with the number of comparisons that might be decided.
        done: Records that there are already.
        at_once: Runs that are trained at the same time.
        spent: Whether the budget is spent, asked before every round.

    Returns:
        The records, the comparisons, and what was chosen.
    """
    searches = [PairSearch(pair, asked) for pair, asked in with_questions(pairs(specs), question)]
    planned = {spec.id for spec in specs}
    records = {record.id: record for record in done if record.id in planned}
    rounds: list[Round] = []
    while not spent():
        wanted: dict[str, RunSpec] = {}
        for search in searches:
            begun = len(search.chosen)
            share = max(1, at_once // (2 * len(searches)))
            wanted |= {spec.id: spec for spec in search.next_runs(records, share)}
            rounds += search.chosen[begun:]
        if not wanted:
            break
        had = len(records)
        records |= {record.id: record for record in run(list(wanted.values()))}
        if len(records) == had:  # it was stopped before any run had ended
            break
    comparisons = tuple(search.compared(records) for search in searches)
    ordered = [records[spec.id] for spec in specs if spec.id in records]
    return DecisionSearch(ordered, len(specs), comparisons, tuple(rounds), spent())
