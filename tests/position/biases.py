"""Helpers of the tests of score biases: random queries, keys and values, the bias, and random parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.position import Position
from attnlab.tensors import QKV
from tests.builders import noise


def random_qkv(length: int = 9, *, batch: int = 2, heads: int = 2, channels: int = 4) -> QKV:
    """Random queries, keys and values."""
    queries, keys, values = (noise(batch, heads, length, channels, seed=seed) for seed in range(3))
    return QKV(queries, keys, values)


def scores_of(qkv: QKV) -> Tensor:
    """Scaled dot products."""
    return qkv.queries_BHTC @ qkv.keys_BHSC.mT / qkv.queries_BHTC.shape[-1] ** 0.5


def bias_of(position: Position, qkv: QKV, layer: int = 0) -> Tensor:
    """The bias on the scaled dot products."""
    bias = position.bias(scores_of(qkv), qkv, layer)
    assert bias is not None
    return bias


def randomize(position: Position) -> Position:
    """The position with every parameter drawn at random."""
    with torch.no_grad():
        for index, weight in enumerate(position.parameters()):
            weight.copy_(noise(*weight.shape, seed=7 + index))
    return position


def chunked(position: Position, qkv: QKV, start: int) -> Tensor:
    """The bias of the rows from ``start`` alone."""
    return bias_of(position, qkv._replace(queries_BHTC=qkv.queries_BHTC[..., start:, :], start=start))
