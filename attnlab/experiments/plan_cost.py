"""The cost of a plan as values: parameters, operations, memory and wall time."""

from __future__ import annotations

from dataclasses import dataclass


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
    seconds: float
    """Seconds of one run that takes all its steps; of vmapped runs, its part of the common time."""
    share: float
    """Expected share of its steps that such a run takes."""
    memory: int
    """Bytes of one worker at its peak, estimated from the timed steps."""
    vmap: int = 1
    """Runs that are vmapped into one program."""


@dataclass(frozen=True)
class CostEstimate:
    """The cost of a plan."""

    shapes: tuple[ShapeCost, ...]
    workers: int
    description: str
    """The executor, as text."""
    free_memory: int
    """Bytes of memory that are available now."""

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall time if runs stop as early as expected, and if none stops early."""
        most = [shape.missing * shape.seconds for shape in self.shapes]
        least = [shape.missing * shape.seconds * shape.share for shape in self.shapes]
        longest = max((shape.seconds * shape.vmap for shape in self.shapes if shape.missing), default=0.0)
        share = max((shape.share for shape in self.shapes if shape.missing), default=1.0)
        return max(sum(least) / self.workers, longest * share), max(sum(most) / self.workers, longest)

    @property
    def too_large(self) -> list[ShapeCost]:
        """Shapes of which not even one worker fits into memory."""
        return [shape for shape in self.shapes if shape.memory > self.free_memory]
