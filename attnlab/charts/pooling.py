"""Large attention maps as smaller ones."""

from __future__ import annotations

from collections.abc import Sequence


def pool_max(matrix: Sequence[Sequence[float]], size: int) -> list[list[float]]:
    """Take the weight of the largest magnitude in each square of cells.

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
            max((w for row in matrix[top : top + size] for w in row[left : left + size]), key=abs)
            for left in range(0, len(matrix[0]), size)
        ]
        for top in range(0, len(matrix), size)
    ]
