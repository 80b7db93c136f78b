"""What a plan costs, as a value that can be drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class ShapeCost:
    """What all runs of one shape cost."""

    summary: str
    runs: int
    missing: int
    parameters: int
    flops: int
    """Operations of one forward pass over one sequence."""
    step: float
    """Seconds per training step, of all lanes together."""
    seconds: float
    """Seconds of one run that takes all its steps, or its part of what its lanes take together."""
    share: float
    """Share of its steps that such a run takes, as far as is known."""
    memory: int
    """Bytes of one worker, at its peak while the steps were timed."""
    vmap: int = 1
    """Runs that are stacked into one program."""


@dataclass(frozen=True)
class CostEstimate:
    """What a plan costs."""

    shapes: tuple[ShapeCost, ...]
    workers: int
    description: str
    """What would work through it."""
    free_memory: int
    """Bytes of memory that are free now."""

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall time if runs stop as early as those seen before, and if none does."""
        most = [shape.missing * shape.seconds for shape in self.shapes]
        least = [shape.missing * shape.seconds * shape.share for shape in self.shapes]
        longest = max((shape.seconds * shape.vmap for shape in self.shapes if shape.missing), default=0.0)
        share = max((shape.share for shape in self.shapes if shape.missing), default=1.0)
        return max(sum(least) / self.workers, longest * share), max(sum(most) / self.workers, longest)

    def __rich__(self) -> RenderableType:
        """One line per shape, and what they come to."""
        table = Table(box=box.SIMPLE_HEAD)
        table.collapse_padding = True
        table.add_column("runs of one shape", overflow="fold", min_width=12)
        stacks = any(shape.vmap > 1 for shape in self.shapes)
        for head in (
            "runs",
            "missing",
            *(["lanes"] if stacks else []),
            "weights",
            "flops",
            "step",
            "one run",
            "MB",
        ):
            table.add_column(head, justify="right")
        for shape in self.shapes:
            cells = [str(shape.runs), str(shape.missing), *([str(shape.vmap)] if stacks else [])]
            cells += [f"{shape.parameters:,}", scaled(shape.flops)]
            cells += [f"{1000 * shape.step:.1f} ms", clock(shape.seconds), f"{shape.memory / 2**20:,.0f}"]
            table.add_row(shape.summary, *cells)
        runs, missing = sum(shape.runs for shape in self.shapes), sum(shape.missing for shape in self.shapes)
        least, most = self.seconds
        early = f"About {clock(least)}, as far as is known of early stops; at" if least < 0.98 * most else "At"
        lines = [
            Text(f"{runs} runs, {runs - missing} done already, {missing} to run; {self.description}."),
            Text(
                f"{early} most {clock(most)}. Steps were timed here and now; a busier machine takes longer.",
                style="bold",
            ),
        ]
        for shape in self.too_large:
            lines.append(Text(f"Will not fit: {shape.summary} needs {shape.memory / 2**20:,.0f} MB.", style="red"))
        return Group(table, *lines)

    @property
    def too_large(self) -> list[ShapeCost]:
        """Shapes of which not even one worker fits into memory."""
        return [shape for shape in self.shapes if shape.memory > self.free_memory]


def clock(seconds: float) -> str:
    """A time span.

    >>> clock(8.04), clock(75), clock(7320)
    ('8.0 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def scaled(number: float) -> str:
    """A large count in three digits.

    >>> scaled(119424), scaled(2.5e9)
    ('119 k', '2.5 G')
    """
    size = min(4, int(math.log10(max(1.0, number))) // 3)
    unit = ("", " k", " M", " G", " T")[size]
    return f"{number / 1000**size:.3g}{unit}"
