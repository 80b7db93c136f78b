"""Reference for sparse attention: softmax over chosen keys, in a loop over rows and keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import noise, pair_of

Chooser = Callable[[Tensor, Tensor, int], Iterable[int]]
"""Queries and keys of a head (T x C) and the index of a row -> the keys of that row."""


def prepared(part: Part, tokens: int, *, width: int = 8, length: int = 64) -> tuple[Attention, Position, QKV]:
    """An attention without position, and its queries, keys and values for random inputs."""
    attention, no_position = pair_of(part, Part(name="none"), width=width, length=length)
    return attention, no_position, attention.prepare(noise(2, tokens, width), no_position, LayerInputs())


def row_of(queries_TC: Tensor, keys_SC: Tensor, i: int, chosen: Iterable[int]) -> Tensor:
    """Softmax of one row over some keys."""
    row = torch.zeros(len(keys_SC), dtype=torch.float64)
    listed = sorted(chosen)
    if not listed:
        return row
    parts = [math.exp(float(queries_TC[i] @ keys_SC[j]) / math.sqrt(queries_TC.shape[-1])) for j in listed]
    for j, part in zip(listed, parts, strict=True):
        row[j] = part / sum(parts)
    return row


@torch.no_grad()
def looped(qkv: QKV, choose: Chooser) -> Tensor:
    """The weights of all sequences and heads over the chosen keys, B x H x T x S."""
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    matrix = torch.zeros(*queries.shape[:-1], keys.shape[-2], dtype=torch.float64)
    for b in range(queries.shape[0]):
        for h in range(queries.shape[1]):
            for i in range(queries.shape[2]):
                matrix[b, h, i] = row_of(queries[b, h], keys[b, h], i, choose(queries[b, h], keys[b, h], i))
    return matrix
