"""The learning curves of runs as lines of blocks, on one axis of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.formatting import percent, thousands
from attnlab.records import Record
from attnlab.rendering._sparkline import bars

WIDTH, HEIGHT = 28, 3
"""Characters and lines of a curve."""


def learning_curves(records: Sequence[Record], names: Sequence[str] = ()) -> RenderableType:
    """Draw validation accuracy and training loss of runs, each pair side by side.

    A curve is as wide as its share of the longest run's steps. All accuracies go from 0 to 1, and all losses from 0 to
    the largest.

    Args:
        records: The runs.
        names: A name for each, which stands to the left; empty for a single run.

    Returns:
        The curves, or a sentence where no run has a validation.
    """
    longest = max((record.history[-1].step for record in records if record.history), default=0)
    if not longest:
        return Text("No validation was recorded.", style="dim")
    finite = [point.loss for record in records for point in record.history if math.isfinite(point.loss)]
    top = max(finite, default=1.0)
    grid = Table.grid(padding=(0, 2))
    heads = [Text("validation accuracy", "dim"), Text("training loss", "dim")]
    grid.add_row(*([Text("")] if names else []), *heads)
    for index, record in enumerate(records):
        points = record.history
        if not points:
            continue
        width = max(1, round(WIDTH * points[-1].step / longest))
        accuracies, losses = [point.accuracy for point in points], [point.loss for point in points]
        cells = [
            _curve(accuracies, width, 1.0, f"{percent(accuracies[0])} to {percent(accuracies[-1])}", "green"),
            _curve(losses, width, top, f"{losses[0]:.3g} to {losses[-1]:.3g}", "magenta"),
        ]
        grid.add_row(*([Text(names[index], "bold")] if names else []), *cells)
    count = max(len(record.history) for record in records)
    noun = "validation" if count == 1 else "validations"
    axis = f"0 to {thousands(longest)} steps, up to {count} {noun}; accuracy 0 to 100 %, loss 0 to {top:.3g}"
    return Group(grid, Text(axis, style="dim"))


def _curve(values: Sequence[float], width: int, top: float, ends: str, style: str) -> RenderableType:
    """A curve, stretched to a width, above its first and its last value."""
    stretched = [values[min(len(values) - 1, column * len(values) // width)] for column in range(width)]
    shown = values if len(values) >= width else stretched
    lines = bars(shown, width=width, height=HEIGHT, low=0.0, high=top)
    return Text.assemble(("\n".join(lines), style), f"\n{ends}")
