"""A batch of sequences and their targets.

Of a task with numbers, ``inputs_BT`` holds F numbers per token, float32, B x T x F, and a target is a number too.

Letters  B sequences of the batch, T tokens, N supervised positions of the batch, W accepted tokens per position, F
         numbers per token.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IGNORE = -100
"""The target at positions that are not supervised."""

Tokens = NDArray[np.int64]


class Batch(NamedTuple):
    """Sequences and their targets.

    The same positions are supervised in training and in evaluation, unless the task asks more in training
    (``Task.asks_more_in_training``), as the noisy loss of ``flip-flop`` does.
    """

    inputs_BT: Tokens
    targets_BT: Tokens
    """The target at each position, or IGNORE."""
    accepted_NW: Tokens | None = None
    """All accepted tokens of each supervised position, row-major, padded with IGNORE; None if only the target is.

    Where targets are numbers, the least and the greatest one that is accepted, N x 2.
    """

    @property
    def holds_numbers(self) -> bool:
        """Whether tokens and targets are numbers, and not ids."""
        return self.targets_BT.dtype.kind == "f"

    def query_positions(self) -> Tokens:
        """Indices of the supervised positions in the flattened batch, N, in row-major order."""
        return np.flatnonzero(self.targets_BT.ravel() != IGNORE)

    def query_targets(self) -> Tokens:
        """The targets at the supervised positions, N."""
        return self.targets_BT.ravel()[self.query_positions()]

    def correct(self, predicted_N: Tokens | NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Tell which predictions are among the accepted tokens.

        Args:
            predicted_N: One token, or number, for each supervised position, in row-major order.

        Returns:
            Bool, N.
        """
        if self.accepted_NW is None:
            return predicted_N == self.query_targets()
        if self.holds_numbers:
            least_N, greatest_N = self.accepted_NW.T
            return (least_N <= predicted_N) & (predicted_N <= greatest_N)
        return (self.accepted_NW == predicted_N[:, None]).any(axis=1)
