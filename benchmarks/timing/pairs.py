"""Interleaved pairs: programs that take turns on one machine, so that whatever else it does slows all of them alike.

ratio of a round = seconds of the rival / seconds of ours        told: the median over rounds, and the quartiles
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Program = Callable[[], object]
Seconds = dict[str, list[float]]

ROUNDS = 5


@dataclass(frozen=True)
class Measured:
    """One line of a benchmark: larger is better, unless a bound from above is set."""

    name: str
    median: float
    low: float
    """Lower quartile over the rounds."""
    high: float
    rounds: int
    goal: float | None = None
    """What it must reach, or stay below."""
    below: bool = False
    unit: str = "x"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.below else self.median >= self.goal


def interleaved(
    programs: Mapping[str, Program],
    rounds: int = ROUNDS,
    *,
    clock: Callable[[], float] = time.perf_counter,
    settle: Program = lambda: None,
    warm: bool = True,
) -> Seconds:
    """Seconds of each program in each round; the order turns from round to round.

    Args:
        programs: What is timed, by name.
        rounds: How often.
        clock: What tells the time.
        settle: Called before each reading of the clock, such as to wait for a device.
        warm: Whether a round is run first that is not counted.
    """
    seconds: Seconds = {name: [] for name in programs}
    for name, counted in turns(list(programs), rounds, warm):
        settle()
        start = clock()
        programs[name]()
        settle()
        if counted:
            seconds[name].append(clock() - start)
    return seconds


def turns(names: Sequence[str], rounds: int, warm: bool = True) -> Iterator[tuple[str, bool]]:
    """Whose turn it is, and whether it counts; the order turns from round to round.

    >>> [name for name, counted in turns(["a", "b"], 2) if counted]
    ['a', 'b', 'b', 'a']
    """
    for turn in range(-1 if warm else 0, rounds):
        shift = turn % len(names)
        for name in (*names[shift:], *names[:shift]):
            yield name, turn >= 0


def ratio(
    name: str,
    rival: Sequence[float],
    ours: Sequence[float],
    *,
    factor: float = 1.0,
    goal: float | None = None,
    note: str = "",
) -> Measured:
    """Seconds of a rival over ours, round by round, times a factor where the two do not do the same amount."""
    return line(name, [factor * one / other for one, other in zip(rival, ours, strict=True)], goal=goal, note=note)


def line(
    name: str,
    values: Sequence[float],
    *,
    goal: float | None = None,
    below: bool = False,
    unit: str = "x",
    note: str = "",
) -> Measured:
    """The median and the quartiles of what several rounds gave."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Measured(name, median, low, high, len(values), goal, below, unit, note)
