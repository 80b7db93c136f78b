"""Products of many elements by an associative operation: of all of them, and of each with those before it.

Both take log T steps over whole arrays in place of T steps over columns (Blelloch, "Prefix sums and their
applications", CMU-CS-90-190).

Letters  B rows, T elements of a row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnlab.tasks.batch import Tokens

Combine = Callable[[Tokens, Tokens], Tokens]
"""Combines earlier elements with later ones, elementwise over B x T; it is associative."""


def prefix_products(combine: Combine, items: Tokens) -> Tokens:
    """Combine each element with all before it.

    >>> prefix_products(np.add, np.array([[1, 2, 3, 4, 5]])).tolist()
    [[1, 3, 6, 10, 15]]

    Args:
        combine: The operation.
        items: The elements, B x T, with any further axes.

    Returns:
        The products, of the same shape.
    """
    length = items.shape[1]
    if length < 2:
        return items
    # Products up to every second element are those of pairs; the others need one more element each.
    pairs = prefix_products(combine, combine(items[:, : length - 1 : 2], items[:, 1::2]))
    products = items.copy()
    products[:, 1::2] = pairs
    products[:, 2::2] = combine(pairs[:, : (length - 1) // 2], items[:, 2::2])
    return products


def product(combine: Combine, items: Tokens) -> Tokens:
    """Combine all elements of each row.

    >>> product(np.add, np.array([[1, 2, 3, 4, 5]])).tolist()
    [15]

    Args:
        combine: The operation.
        items: The elements, B x T, with any further axes; T is at least 1.

    Returns:
        The products, B with the further axes.
    """
    while (length := items.shape[1]) > 1:
        pairs = combine(items[:, : length - 1 : 2], items[:, 1::2])
        items = np.concatenate([pairs, items[:, -1:]], axis=1) if length % 2 else pairs
    return items[:, 0]
