"""The rows of a file of sequences, after they have been read and checked.

Letters  N rows of the file, T tokens of the longest row, B rows of a batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks.base import IGNORE, Tokens

IntArray = NDArray[np.integer[Any]]


class Table(NamedTuple):
    """The rows of a file, checked."""

    inputs_NT: IntArray
    targets_NT: IntArray
    """As they stand in the file."""
    max_token: int
    """The largest token of inputs and targets."""
    majority_share: float
    """Share of the most frequent target."""
    lengths_N: NDArray[np.int64]
    """Tokens of each row up to its padding: up to the last token that is not 0, or that is supervised."""
    splits_N: NDArray[np.str_] | None
    """The split of each row, where a column names it: train, validation or test."""
    shifts: bool
    """Whether the target of a position is read from the next one."""
    echoes: int
    """The number of targets, if each is the input at its own position and they are not all one; otherwise 0."""

    def take(self, rows: NDArray[np.integer[Any]], width: int) -> tuple[Tokens, Tokens]:
        """Take some rows.

        Args:
            rows: Their indices, B.
            width: T, the tokens to take of each.

        Returns:
            Inputs and targets, B x T.
        """
        inputs_BT, targets_BT = (array_NT[rows, :width].astype(np.int64) for array_NT in self[:2])
        return inputs_BT, shifted(targets_BT) if self.shifts else targets_BT


def shifted(labels_BT: Tokens) -> Tokens:
    """Move each label to the position before it, from which it is predicted.

    >>> shifted(np.array([[5, 6, 7]])).tolist()
    [[6, 7, -100]]

    Args:
        labels_BT: Labels, each at its own position; the first has none before it.

    Returns:
        Targets, B x T.
    """
    targets_BT = np.full_like(labels_BT, IGNORE)
    targets_BT[:, :-1] = labels_BT[:, 1:]
    return targets_BT


def equal_where_set(targets_NT: Tokens, tokens_NT: Tokens) -> bool:
    """Tell whether every target is the token beside it.

    Args:
        targets_NT: Targets, IGNORE where there is none.
        tokens_NT: The tokens that they are compared with.

    Returns:
        Whether they are equal wherever there is a target; True where there is none.
    """
    return bool(((targets_NT == tokens_NT) | (targets_NT == IGNORE)).all())
