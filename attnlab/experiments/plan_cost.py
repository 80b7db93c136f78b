"""The cost of a plan as values: parameters, operations, memory, steps and wall time.

    run          fixed seconds + steps * seconds of a step with its part of the validations
    wall time    start-up of the driver + start of a worker + the time at which the last worker is done
    range        two standard errors of the steps, and a fifth of the speed

Workers take the groups of runs in the order of the plan, each as soon as it is free.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

StepsSource = Literal["fixed", "store", "shipped", "experiment", "unknown"]
"""Whence the steps of a run are known.

``fixed``: runs do not stop early. ``store``, ``shipped``: like runs of this store, of the shipped results.
``experiment``: the share that the experiment's file names. ``unknown``: nothing is known, all steps are counted.
"""
SOURCES: tuple[StepsSource, ...] = get_args(StepsSource)
"""The most certain first."""
SPEED_ERROR = 0.2
"""Relative error of the speed: steps of two workers slow one another, and most steps are timed for a moment only."""


@dataclass(frozen=True)
class StepsEstimate:
    """How many steps a run is expected to take."""

    mean: float
    source: StepsSource
    deviation: float = 0.0
    """Standard deviation between runs."""
    known: int = 0
    """Number of runs that the mean is of; 0 where the mean counts as exact."""
    least: float = 0.0
    """The fewest steps that are possible, where nothing is known; otherwise not used."""

    def error(self, runs: int) -> float:
        """Compute the standard error of the steps of several runs together.

        Args:
            runs: How many runs.

        Returns:
            Steps: the runs differ from one another, and from the mean of the known ones by the same error.
        """
        return self.deviation * math.sqrt(runs + (runs**2 / self.known if self.known else 0.0))


@dataclass(frozen=True)
class ShapeCost:
    """The cost of all runs of one shape."""

    summary: str
    runs: int
    missing: int
    """Runs that have no record yet."""
    parameters: int
    flops: int
    """Operations of one forward pass over one sequence."""
    step: float
    """Seconds per training step, of all vmapped runs together."""
    fixed: float
    """Seconds of one run beside its steps: it is built, tested and recorded."""
    rate: float
    """Seconds of one run per step, validations included; of vmapped runs, its part of the common time."""
    max_steps: int
    steps: StepsEstimate
    memory: int
    """Bytes of one worker at its peak, estimated from the timed steps."""
    vmap: int = 1
    """Runs that are vmapped into one program."""
    timed: bool = True
    """Whether its own steps were timed; otherwise those of like shapes were, and its operations counted."""

    def seconds(self, steps: float) -> float:
        """Compute the time of one run.

        Args:
            steps: The steps that it takes.

        Returns:
            Seconds; of vmapped runs, its part of the common time.
        """
        return self.fixed + self.rate * steps

    @property
    def expected(self) -> float:
        """Seconds of one run that takes the expected steps."""
        return self.seconds(self.steps.mean)


@dataclass(frozen=True)
class CostEstimate:
    """The cost of a plan."""

    shapes: tuple[ShapeCost, ...]
    workers: int
    description: str
    """The executor, as text."""
    free_memory: int
    """Bytes of memory that are available now."""
    driver: float = 0.0
    """Seconds that the sweep takes to start and to plan."""
    worker: float = 0.0
    """Seconds that a worker takes to start; all start together."""

    @property
    def missing(self) -> int:
        """Runs that have no record yet."""
        return sum(shape.missing for shape in self.shapes)

    @property
    def start_up(self) -> float:
        """Seconds before the first step; no worker is started where nothing is missing."""
        return self.driver + (self.worker if self.missing else 0.0)

    @property
    def expected(self) -> float:
        """Wall time in seconds if every run takes the expected steps."""
        return self.start_up + self._last_done(lambda shape: shape.steps.mean)

    @property
    def whole(self) -> float:
        """Wall time in seconds if every run takes all its steps."""
        return self.start_up + self._last_done(lambda shape: shape.max_steps)

    @property
    def range(self) -> tuple[float, float]:
        """Wall time in seconds, from and to: two standard errors of the steps, and an error of the speed.

        Runs of which nothing is known take between one validation and all steps. Start-up varies by the speed too.
        """
        work = sum(shape.missing * shape.expected for shape in self.shapes)
        errors = (shape.rate * shape.steps.error(shape.missing) for shape in self.shapes)
        steps_error = 2 * math.hypot(*errors) / work if work else 0.0
        least = self._last_done(lambda shape: _least(shape.steps)) * max(0.0, 1 - steps_error)
        most = min(self._last_done(lambda shape: shape.steps.mean) * (1 + steps_error), self.whole - self.start_up)
        return (self.start_up + least) * (1 - SPEED_ERROR), (self.start_up + most) * (1 + SPEED_ERROR)

    @property
    def most_steps(self) -> int:
        """The steps of all missing runs, if none stops early: a bound, whatever the speed."""
        return sum(shape.missing * shape.max_steps for shape in self.shapes)

    @property
    def too_large(self) -> list[ShapeCost]:
        """Shapes of which not even one worker fits into memory."""
        return [shape for shape in self.shapes if shape.memory > self.free_memory]

    def as_data(self) -> dict[str, Any]:
        """Give the estimate as plain data, for JSON.

        Returns:
            All fields of it and of its shapes, and the derived times in seconds.
        """
        derived = {name: getattr(self, name) for name in ("missing", "start_up", "expected", "range", "whole")}
        return asdict(self) | derived | {"most_steps": self.most_steps}

    def _last_done(self, steps: Callable[[ShapeCost], float]) -> float:
        """The time at which the last worker is done, if runs of a shape take so many steps."""
        free_at = [0.0] * max(1, self.workers)
        for seconds in self._groups(steps):
            heapq.heapreplace(free_at, free_at[0] + seconds)
        return max(free_at)

    def _groups(self, steps: Callable[[ShapeCost], float]) -> Iterator[float]:
        """Seconds of each group of vmapped runs, in the order of the plan."""
        for shape in self.shapes:
            seconds = shape.seconds(steps(shape))
            for start in range(0, shape.missing, shape.vmap):
                yield seconds * min(shape.vmap, shape.missing - start)


def _least(steps: StepsEstimate) -> float:
    return steps.least if steps.source == "unknown" else steps.mean
