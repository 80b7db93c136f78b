"""Batches of several runs padded to one shape, because their lengths and numbers of query positions may differ.

    tokens            7 3 5 . .    a shorter sequence is filled with tokens at the end, which have no target
    sequences         2            a batch with fewer sequences is filled with sequences that have no target
    query positions   2 4 0        indices into the flattened padded batch; missing ones are filled with 0
    targets           5 1 -100     filled entries have the ignored target, so they add no loss

Attention is causal, so padding at the end changes no prediction. Two cases are excluded: positions drawn at random by
the length, and attentions with an auxiliary loss over all tokens.

Letters  K vmapped runs, B batch, T tokens, N query positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.attention import Attention
from attnlab.model.base import Model
from attnlab.model.losses import IGNORED_TARGET
from attnlab.tasks import Batch


class PaddedBatches(NamedTuple):
    """Batches of several runs, padded to one shape."""

    inputs_KBT: NDArray[np.int64]
    query_positions_KN: NDArray[np.int64]
    """Indices of the query positions in each flattened padded batch."""
    targets_KN: NDArray[np.int64]
    """The targets at the query positions."""
    count_K: NDArray[np.int64]
    """Number of query positions of each run, without filled ones."""


def accepts_padding(model: Model) -> bool:
    """Whether predictions stay the same when tokens without a target follow the sequence.

    A whole model of the user's own may read the length of its input.
    """
    if model.spec.module is not None:
        return False
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    no_auxiliary_loss = all(type(attention).auxiliary is Attention.auxiliary for attention in attentions)
    return no_auxiliary_loss and not model.position.random


def pad_batches(batches: Sequence[Batch]) -> PaddedBatches:
    """Stack one batch per run; missing sequences are filled with tokens that have no target."""
    rows, tokens, *numbers = (max(sizes) for sizes in zip(*(batch.inputs_BT.shape for batch in batches), strict=True))
    positions = [batch.query_positions() for batch in batches]
    count_K = np.array([len(positions_N) for positions_N in positions])
    inputs_KBT = np.zeros((len(batches), rows, tokens, *numbers), batches[0].inputs_BT.dtype)
    positions_KN = np.zeros((len(batches), count_K.max()), np.int64)
    targets_KN = np.full(positions_KN.shape, IGNORED_TARGET, batches[0].targets_BT.dtype)
    for index, (batch, positions_N) in enumerate(zip(batches, positions, strict=True)):
        length = batch.inputs_BT.shape[1]
        inputs_KBT[index][tuple(slice(count) for count in batch.inputs_BT.shape)] = batch.inputs_BT
        positions_KN[index, : len(positions_N)] = positions_N // length * tokens + positions_N % length
        targets_KN[index, : len(positions_N)] = batch.query_targets()
    return PaddedBatches(inputs_KBT, positions_KN, targets_KN, count_K)
