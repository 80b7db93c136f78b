"""The lowest of many numbers, in order, without sorting the others: names drawn without replacement.

Letters  B rows, N numbers of a row, K lowest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks.batch import Tokens


def lowest(numbers_BN: NDArray[np.float64], count: int) -> Tokens:
    """Find the lowest numbers of each row; they differ from one another.

    >>> lowest(np.array([[0.3, 0.9, 0.1, 0.5]]), 2).tolist()
    [[2, 0]]

    Args:
        numbers_BN: The numbers, B x N.
        count: K, at most N.

    Returns:
        Their indices, the lowest number first, B x K: the first columns of ``argsort``.
    """
    if count >= numbers_BN.shape[1]:
        return np.argsort(numbers_BN, axis=1)[:, :count]
    index_BK = np.argpartition(numbers_BN, count, axis=1)[:, :count]
    order_BK = np.argsort(np.take_along_axis(numbers_BN, index_BK, axis=1), axis=1)
    return np.take_along_axis(index_BK, order_BK, axis=1)
