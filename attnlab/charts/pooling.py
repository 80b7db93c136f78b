"""Large attention maps as smaller ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def pool_max(matrix: Sequence[Sequence[float]], size: int) -> list[list[float]]:
    """Take the weight of the largest magnitude in each square of cells; nan where no weight of it is a number.

    >>> pool_max([[1.0, 0.0, 0.0], [0.5, -2.0, 0.0], [0.0, 0.2, 0.1]], 2)
    [[-2.0, 0.0], [0.2, 0.1]]

    Args:
        matrix: The weights.
        size: Cells of a side of a square.

    Returns:
        A matrix with one weight for each square.
    """
    return [
        [
            max((w for row in matrix[top : top + size] for w in row[left : left + size]), key=_size)
            for left in range(0, len(matrix[0]), size)
        ]
        for top in range(0, len(matrix), size)
    ]


def largest_weight(weights: Iterable[float]) -> float:
    """Find the largest magnitude of some weights, which ends the scale of their map.

    >>> largest_weight([0.5, math.nan, -2.0]), largest_weight([0.0, math.inf])
    (2.0, 0.0)

    Args:
        weights: The weights; those that are not finite, as of a run that diverged, do not count.

    Returns:
        The magnitude; 0 where none is finite.
    """
    return max((abs(weight) for weight in weights if math.isfinite(weight)), default=0.0)


def _size(weight: float) -> float:
    return -1.0 if math.isnan(weight) else abs(weight)
