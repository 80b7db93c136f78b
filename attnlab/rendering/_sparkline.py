"""Small curves made of block characters."""

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
        values: Heights; numbers that are not finite are left blank.
        width: Columns; longer curves are thinned by averaging.
        height: Lines.
        low: Value of an empty column, which still shows one sliver.
        high: Value of a full column.
    """
    shown = thinned(values, width)
    steps = height * (len(BLOCKS) - 1)
    levels = [_level(value, low, high, steps) for value in shown] + [0] * (width - len(shown))
    lines = []
    for line in reversed(range(height)):
        filled = [min(len(BLOCKS) - 1, max(0, level - line * (len(BLOCKS) - 1))) for level in levels]
        lines.append("".join(BLOCKS[level] for level in filled))
    return lines


def thinned(values: Sequence[float], width: int) -> list[float]:
    """At most ``width`` values: means of equal stretches."""
    if len(values) <= width:
        return list(values)
    ends = [round(column * len(values) / width) for column in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]


def _level(value: float, low: float, high: float, steps: int) -> int:
    if not math.isfinite(value):
        return 0
    share = (value - low) / (high - low) if high > low else 0.0
    return 1 + round(min(1.0, max(0.0, share)) * (steps - 1))
