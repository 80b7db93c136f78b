"""A batch of sequences and their targets.

Letters  B sequences of the batch, T tokens, N supervised positions of the batch, W accepted tokens per position.
"""

from __future__ import annotations

from typing import NamedTuple

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
    """All accepted tokens of each supervised position, row-major, padded with IGNORE; None if only the target is."""

    def query_positions(self) -> Tokens:
        """Indices of the supervised positions in the flattened batch, N, in row-major order."""
        return np.flatnonzero(self.targets_BT.ravel() != IGNORE)

    def query_targets(self) -> Tokens:
        """The targets at the supervised positions, N."""
        return self.targets_BT.ravel()[self.query_positions()]

    def correct(self, predicted_N: Tokens) -> NDArray[np.bool_]:
        """Tell which predictions are among the accepted tokens.

        Args:
            predicted_N: One token for each supervised position, in row-major order.

        Returns:
            Bool, N.
        """
        if self.accepted_NW is None:
            return predicted_N == self.query_targets()
        return (self.accepted_NW == predicted_N[:, None]).any(axis=1)
