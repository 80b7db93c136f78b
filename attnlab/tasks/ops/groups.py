"""Groups: the names of their elements and their multiplication tables.

Letters  G elements of the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np

from attnlab.errors import InvalidValueError
from attnlab.tasks.batch import Tokens

MOST = 120
"""Largest number of elements of a group; S5 has as many."""
LARGEST = {"Z": 120, "S": 5, "A": 5}


def multiplication(group: str) -> tuple[list[str], Tokens]:
    """Names of the elements of a group, and its multiplication table.

    Args:
        group: Zn, Sn or An, or a direct product written with x, such as ``A4xZ5``.

    Returns:
        The names, the neutral element first, and the table: entry (g, h) is the index of g h, G x G.

    Raises:
        InvalidValueError: The group has too many elements, or only one.
    """
    words, table = [""], np.zeros((1, 1), dtype=np.int64)
    for factor in group.split("x"):
        kind, degree = factor[0], int(factor[1:])
        if degree > LARGEST[kind]:
            hint = f"Use at most {kind}{LARGEST[kind]}."
            raise InvalidValueError(f"{factor} has more than {MOST} elements.", hint, where="word-problem")
        more, other = _cyclic(degree) if kind == "Z" else _permutations(degree, even=kind == "A")
        if len(words) * len(more) > MOST:
            problem = f"{group} has at least {len(words) * len(more)} elements; at most {MOST} are possible."
            raise InvalidValueError(problem, "Use smaller factors.", where="word-problem")
        words = [f"{one},{two}" if one else two for one in words for two in more]
        table = np.kron(table, np.ones_like(other)) * len(more) + np.tile(other, table.shape)
    if len(words) == 1:
        raise InvalidValueError(
            f"{group} has only one element.", "Use a group with at least two elements.", where="word-problem"
        )
    return words, table


def _cyclic(order: int) -> tuple[list[str], Tokens]:
    """Names and multiplication table of a cyclic group."""
    elements = np.arange(order)
    return [str(element) for element in elements], (elements[:, None] + elements) % order


def _permutations(degree: int, even: bool) -> tuple[list[str], Tokens]:
    """Names and multiplication table of the symmetric group, or of the alternating group."""
    images = np.array([image for image in permutations(range(degree)) if not (even and _inversions(image) % 2)])
    digits = degree ** np.arange(degree)
    # Products by composition: the images of the left one at the images of the right one, looked up by their digits.
    numbers = images @ digits
    order = np.argsort(numbers)
    products = images[np.arange(len(images))[:, None, None], images[None]] @ digits
    table = order[np.searchsorted(numbers, products, sorter=order)]
    return ["".join(str(point + 1) for point in image) for image in images], table


def _inversions(images: Sequence[int]) -> int:
    """Number of pairs of points that a permutation reverses."""
    return sum(one > other for one, other in combinations(images, 2))
