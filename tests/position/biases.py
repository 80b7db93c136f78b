"""What the tests of score biases share: heads, the bias, and what starts at zero woken."""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.position import Position
from attnlab.tensors import Heads
from tests.builders import noise


def heads_of(length: int = 9, *, batch: int = 2, heads: int = 2, channels: int = 4) -> Heads:
    """Random queries, keys and values."""
    queries, keys, values = (noise(batch, heads, length, channels, seed=seed) for seed in range(3))
    return Heads(queries, keys, values)


def scores_of(heads: Heads) -> Tensor:
    """Scaled dot products."""
    return heads.queries_BHTC @ heads.keys_BHSC.mT / heads.queries_BHTC.shape[-1] ** 0.5


def bias_of(position: Position, heads: Heads, layer: int = 0) -> Tensor:
    """The bias on the scaled dot products."""
    bias = position.bias(scores_of(heads), heads, layer)
    assert bias is not None
    return bias


def awake(position: Position) -> Position:
    """The position with noise for every number it learns."""
    with torch.no_grad():
        for index, weight in enumerate(position.parameters()):
            weight.copy_(noise(*weight.shape, seed=7 + index))
    return position


def chunked(position: Position, heads: Heads, start: int) -> Tensor:
    """The bias of the rows from ``start`` alone."""
    return bias_of(position, heads._replace(queries_BHTC=heads.queries_BHTC[..., start:, :], start=start))
