"""Small curves of block characters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"


def bars(values: Sequence[float], *, width: int, height: int, low: float, high: float) -> list[str]:
    """A curve as columns of blocks, newest at the right, top line first.

    >>> bars([0, 1, 2, 3], width=6, height=1, low=0, high=3)
    ['▁▃▆█  ']

    Args:
        values: Heights; values that are not finite are left blank.
        width: Columns; longer curves are averaged down to them.
        height: Lines.
        low: Value of the lowest column, which still shows one block of an eighth.
        high: Value of a full column.
    """
    shown = resample(values, width)
    steps = height * (len(BLOCKS) - 1)
    column_steps = [_step(value, low, high, steps) for value in shown] + [0] * (width - len(shown))
    lines = []
    for line in reversed(range(height)):
        filled = [min(len(BLOCKS) - 1, max(0, step - line * (len(BLOCKS) - 1))) for step in column_steps]
        lines.append("".join(BLOCKS[step] for step in filled))
    return lines


def resample(values: Sequence[float], width: int) -> list[float]:
    """At most ``width`` values: means of sections of equal length."""
    if len(values) <= width:
        return list(values)
    ends = [round(column * len(values) / width) for column in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]


def _step(value: float, low: float, high: float, steps: int) -> int:
    """The height of a column in eighths of a line; 0 where the value is not finite."""
    if not math.isfinite(value):
        return 0
    share = (value - low) / (high - low) if high > low else 0.0
    return 1 + round(min(1.0, max(0.0, share)) * (steps - 1))
