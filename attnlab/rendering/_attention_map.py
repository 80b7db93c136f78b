"""The matrix of one head as a map of shaded blocks: queries down, keys across.

    positive  ░▒▓█        negative  ·-=≡

Every cell is as dark as the root of the largest weight in it, against the largest of the map: rows of many small
weights stay visible beside rows of one large weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from attnlab.diagnosis.result import Map

SHADES = " ░▒▓█"
NEGATIVE = " ·-=≡"
LINES = 32
"""Lines of a map, at most."""
MARGIN = 5
"""Columns for the number of the query."""


@dataclass(frozen=True)
class HeadMap:
    """The map of a head."""

    map: Map

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Headline, a line for each query or several, legend."""
        matrix = self.map.weights
        side = max(1, min(LINES, (options.max_width - MARGIN) // 2))
        size = -(-len(matrix) // side)
        cells = pooled(matrix, size)
        most = max((abs(weight) for row in cells for weight in row), default=0.0)
        yield Text("")
        head = f"  layer {self.map.layer}, head {self.map.head}: queries down, keys across"
        yield Text.assemble((self.map.variant, "bold"), (head, "dim"))
        for number, row in enumerate(cells):
            line = Text(f"{number * size:>{MARGIN - 1}} ", style="dim")
            for weight in row:
                line.append(shade(weight, most) * 2, style="red" if weight < 0 else "default")
            line.rstrip()
            yield line
        yield Text(self.legend(size, most, any(weight < 0 for row in cells for weight in row)), style="dim")

    def legend(self, size: int, most: float, signed: bool) -> str:
        """What the shades mean."""
        words = [f"{SHADES[1:]} up to {most:.3g}, by the root"]
        words += [f"{NEGATIVE[1:]} likewise below zero"] if signed else []
        words += [f"each cell the largest of {size} x {size}"] if size > 1 else []
        return "; ".join(words)


def pooled(matrix: Sequence[Sequence[float]], size: int) -> list[list[float]]:
    """The weight of the largest size in each square of cells.

    >>> pooled([[1.0, 0.0, 0.0], [0.5, -2.0, 0.0], [0.0, 0.2, 0.1]], 2)
    [[-2.0, 0.0], [0.2, 0.1]]
    """
    return [
        [
            max((w for row in matrix[top : top + size] for w in row[left : left + size]), key=abs)
            for left in range(0, len(matrix[0]), size)
        ]
        for top in range(0, len(matrix), size)
    ]


def shade(weight: float, most: float) -> str:
    """The block for a weight: blank below a 64th of the largest.

    >>> shade(1.0, 1.0), shade(-0.2, 1.0), shade(0.01, 1.0)
    ('█', '-', ' ')
    """
    steps = len(SHADES) - 1
    level = min(steps, round(math.sqrt(abs(weight) / most) * steps)) if most else 0
    return (NEGATIVE if weight < 0 else SHADES)[level]
