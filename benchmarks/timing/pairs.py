"""Interleaved rounds: programs take turns on one machine, so that other load slows all of them alike.

ratio of a round = seconds of the baseline / seconds of ours        printed: the median over rounds, and the quartiles
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from attnlab.experiments.bench_result import Measurement, quartiles, turns

Program = Callable[[], object]
Seconds = dict[str, list[float]]
"""Program -> seconds of each round."""

ROUNDS = 5


@dataclass(frozen=True)
class Measured(Measurement):
    """One line of a benchmark. Larger is better, unless ``below`` is set."""

    unit: str = "x"
    goal: float | None = None
    """The value to reach, or to stay below."""
    below: bool = False
    """Whether the goal is an upper bound."""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.below else self.median >= self.goal


def interleaved(
    programs: Mapping[str, Program],
    rounds: int = ROUNDS,
    *,
    clock: Callable[[], float] = time.perf_counter,
    synchronize: Program = lambda: None,
    warm: bool = True,
) -> Seconds:
    """Time each program in each round; the order rotates from round to round.

    Args:
        programs: The programs by name.
        rounds: Number of rounds that count.
        clock: Returns the time in seconds.
        synchronize: Called before each reading of the clock, such as to wait for a device.
        warm: Whether a round that does not count comes first.

    Returns:
        Seconds of each program in each round.
    """
    seconds: Seconds = {name: [] for name in programs}
    for name, counted in turns(list(programs), rounds, warm):
        synchronize()
        start = clock()
        programs[name]()
        synchronize()
        if counted:
            seconds[name].append(clock() - start)
    return seconds


def ratio(
    name: str,
    baseline: Sequence[float],
    ours: Sequence[float],
    *,
    factor: float = 1.0,
    goal: float | None = None,
    note: str = "",
) -> Measured:
    """Divide the seconds of a baseline by ours, round by round.

    Args:
        name: What is compared.
        baseline: Seconds of the baseline in each round.
        ours: Seconds of ours in each round.
        factor: Multiplies the ratio where the two do different amounts of work.
        goal: The ratio to reach.
        note: The conditions.

    Returns:
        Median and quartiles of the ratio.
    """
    ratios = [factor * other / own for other, own in zip(baseline, ours, strict=True)]
    return summarize(name, ratios, goal=goal, note=note)


def summarize(
    name: str,
    values: Sequence[float],
    *,
    goal: float | None = None,
    below: bool = False,
    unit: str = "x",
    note: str = "",
) -> Measured:
    """Compute the median and the quartiles of one value per round.

    Args:
        name: What was measured.
        values: One value per round.
        goal: The value to reach.
        below: Whether the goal is an upper bound.
        unit: Unit of the values; ``x`` for ratios.
        note: The conditions.

    Returns:
        One line of a benchmark.
    """
    low, median, high = quartiles(values)
    return Measured(name, median, low, high, len(values), unit, note, goal, below)
