"""The matrix of one head as a map of shaded blocks: queries down, keys across.

    positive  ░▒▓█        negative  ·-=≡

The shade of a cell follows the square root of the largest weight in it, so that rows of many small weights stay visible
beside rows of one large weight. Where every row is a distribution, as that of a softmax, the scale is from 0 to 1 and
the same in every map; otherwise it ends at the largest weight of the map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from attnlab.charts.pooling import largest_weight, pool_max
from attnlab.diagnosis.result import AttentionMap

SHADES = " ░▒▓█"
NEGATIVE = " ·-=≡"
NOT_FINITE = "?"
LINES = 32
"""Lines of a map, at most."""
MARGIN = 5
"""Columns for the index of the query."""


@dataclass(frozen=True)
class HeadMap:
    """The map of one head."""

    map: AttentionMap

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Heading, one line per query or group of queries, legend."""
        matrix = self.map.weights
        side = max(1, min(LINES, (options.max_width - MARGIN) // 2))
        size = -(-len(matrix) // side)
        cells = pool_max(matrix, size)
        largest = 1.0 if self.map.is_share else largest_weight(weight for row in cells for weight in row)
        yield Text("")
        kind = f", head {self.map.head}"
        if self.map.matrix == "Jacobian row norms":  # a module without heads
            kind = f", {self.map.matrix}"
        elif self.map.matrix != "effective matrix":
            kind += f", {self.map.matrix}"
        head = f"  layer {self.map.layer}{kind}: queries down, keys across"
        yield Text.assemble((self.map.variant, "bold"), (head, "dim"))
        for index, row in enumerate(cells):
            line = Text(f"{index * size:>{MARGIN - 1}} ", style="dim")
            for weight in row:
                line.append(shade(weight, largest) * 2, style="red" if weight < 0 else "default")
            line.rstrip()
            yield line
        unknown = not all(math.isfinite(weight) for row in cells for weight in row)
        signed = any(weight < 0 for row in cells for weight in row)
        yield Text(self.legend(size, largest, signed, unknown=unknown), style="dim")

    def legend(self, size: int, largest: float, signed: bool, *, unknown: bool = False) -> str:
        """The meaning of the shades."""
        scale = "0 to 1" if self.map.is_share else f"up to {largest:.3g}"
        parts = [f"{SHADES[1:]} weights {scale} (square-root scale)"]
        parts += [f"{NEGATIVE[1:]} negative weights"] if signed else []
        parts += [f"{NOT_FINITE} not finite"] if unknown else []
        parts += [f"each cell is the largest of {size} x {size}"] if size > 1 else []
        return "; ".join(parts)


def shade(weight: float, largest: float) -> str:
    """The block of a weight: blank below a 64th of the largest.

    >>> shade(1.0, 1.0), shade(-0.2, 1.0), shade(0.01, 1.0), shade(math.nan, 1.0)
    ('█', '-', ' ', '?')
    """
    if not math.isfinite(weight):
        return NOT_FINITE
    steps = len(SHADES) - 1
    step = min(steps, round(math.sqrt(abs(weight) / largest) * steps)) if largest else 0
    return (NEGATIVE if weight < 0 else SHADES)[step]
