"""Batches of several lanes as one, though their sequences and the number of their questions may differ.

    tokens     7 3 5 . .       a shorter sequence ends in tokens that nobody asks about
    questions  2 4 0           places in the flattened batch of the common length; what is missing asks of place 0
    answers    5 1 -100        and what is asked too much has no answer, so that no loss comes from there

No token hears those after it, so what is asked stays the same; unless the pass draws places by the length, or adds a
loss over all tokens.

Letters  K lanes, B batch, T tokens, N supervised positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.attention import Attention
from attnlab.model.transformer import Transformer
from attnlab.tasks import Batch

SILENT = -100
"""The answer where a lane has fewer questions than its neighbors: no loss comes from there."""


class Padded(NamedTuple):
    """Batches of several lanes."""

    inputs_KBT: NDArray[np.int64]
    query_positions_KN: NDArray[np.int64]
    """Places of the supervised positions in each flattened batch."""
    targets_KN: NDArray[np.int64]
    """Answers due there."""
    count_K: NDArray[np.int64]
    """Questions of each lane."""


def accepts_padding(model: Transformer) -> bool:
    """Whether what is asked stays the same when tokens follow that nobody asks about."""
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    quiet = all(type(attention).auxiliary is Attention.auxiliary for attention in attentions)
    return quiet and not model.position.random


def pad_batches(batches: Sequence[Batch]) -> Padded:
    """One batch of each lane, each of as many sequences."""
    rows, tokens = len(batches[0].inputs_BT), max(batch.inputs_BT.shape[1] for batch in batches)
    positions = [batch.query_positions() for batch in batches]
    count_K = np.array([len(place_N) for place_N in positions])
    inputs_KBT = np.zeros((len(batches), rows, tokens), np.int64)
    positions_KN = np.zeros((len(batches), count_K.max()), np.int64)
    targets_KN = np.full(positions_KN.shape, SILENT, np.int64)
    for lane, (batch, place_N) in enumerate(zip(batches, positions, strict=True)):
        own = batch.inputs_BT.shape[1]
        inputs_KBT[lane, :, :own] = batch.inputs_BT
        positions_KN[lane, : len(place_N)] = place_N // own * tokens + place_N % own
        targets_KN[lane, : len(place_N)] = batch.query_targets()
    return Padded(inputs_KBT, positions_KN, targets_KN, count_K)
