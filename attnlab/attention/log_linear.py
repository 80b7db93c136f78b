"""Log-linear attention: a gated linear memory kept at log T scales, each heard as the token chooses.

    A_ij = e_(i, l(i,j)) d_j q_i.k_j exp(g_(j+1) + ... + g_i) / sqrt(C)
    l(i, j) = 0 at i = j, else 1 + the highest bit in which i and j differ
    e_il = softplus(L_hl (x_i W)_hl)

The levels are those of a Fenwick tree: level 0 is the token itself, level l > 0 the 2^(l-1) tokens before the token's
own block of that size, where that block is the second of its pair. They partition the past. Steps d and decay g are
those of Mamba-2, ``g = -exp(l_h) d``; without ``decay`` d = 1 and g = 0.

Source   Guo et al., "Log-linear attention", arXiv:2506.04761.
Theirs   lambda -> our e;  the memory of Mamba-2, here with queries and keys of C channels for each head.
Differs  the gain L_hl starts at 1 (ours). The number of levels is fixed by the longest sequence of the run; beyond it
         the last level serves all that is farther. No SiLU, no skip; a norm per head without gain.

Letters  B batch, H heads, T queries, S keys, C channels per head, L levels, M pairs of blocks, W tokens per block,
         V width of the values.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, RowConstraint, register
from attnlab.attention.mamba2 import Clock
from attnlab.attention.ops.scan import (
    SCALAR_CHUNK,
    Recurrence,
    Recurrent,
    closed_form,
    no_decay,
    remaining_decay,
    to_chunks,
)
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, with_float32


@register("log-linear", source="arXiv:2506.04761", aliases=("loglinear",))
@final
class LogLinear(Recurrent):
    """Memories of blocks that double in size towards the past, weighed by learned scales per level.

    Options:
        decay: Whether the memories fade within, by a step per token and head; else linear attention with levels.
    """

    row_constraint = RowConstraint.FREE
    cost = "T log T D C"

    def __init__(self, context: LayerContext, *, decay: bool = True) -> None:
        super().__init__(context)
        self.levels = depth(context.length)
        self.clock = Clock(context) if decay else None
        self.scale = context.linear(context.width, context.heads * self.levels)
        self.gain_HL = nn.Parameter(torch.ones(context.heads * self.levels))
        """Stored flat: gains are not decayed."""

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + (D + 1) H L`` with ``L = ceil(log2 T) + 1``; ``(D + 2) H`` more with decay."""
        steps = (width + 2) * heads if options["decay"] else 0
        return 4 * width**2 + (width + 1) * heads * depth(length) + steps

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; the scale of every level, and the steps and decay of every token."""
        scale_BHTL = self.split(
            functional.softplus(at_least_float32(self.scale(x_BTD)) * at_least_float32(self.gain_HL))
        )
        clock = () if self.clock is None else self.clock(x_BTD)
        return super().project(x_BTD, layer_inputs)._replace(extra=(scale_BHTL, *clock))

    def recurrence(self, qkv: QKV) -> Recurrence:
        """The memory below the levels."""
        queries = qkv.queries_BHTC / math.sqrt(qkv.queries_BHTC.shape[-1])
        if self.clock is None:
            return Recurrence(queries, qkv.keys_BHSC, no_decay(qkv.keys_BHSC))
        _, step_BHS1, decay_BHS1 = qkv.extra
        return Recurrence(queries, qkv.keys_BHSC * step_BHS1, decay_BHS1)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form of the memory, times the scale of each cell's level."""
        rows = slice(qkv.start, qkv.start + qkv.queries_BHTC.shape[-2])
        return super().weights(qkv, position) * cells(qkv.extra[0][..., rows, :], qkv.keys_BHSC, qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Within chunks the closed form; for every level beyond, one memory per pair of blocks."""
        if not self.uses_scan(qkv):
            return super().attend(qkv, position)
        tokens, values = qkv.values_BHSC.shape[-2], at_least_float32(qkv.values_BHSC)
        padded = SCALAR_CHUNK << max(0, (tokens - 1).bit_length() - (SCALAR_CHUNK - 1).bit_length())
        everything = (*self.recurrence(with_float32(qkv)), qkv.extra[0], values)
        queries, keys, decay, scale, values = (to_chunks(tensor, padded).squeeze(-3) for tensor in everything)
        mixed = within(queries, keys, decay, scale, values)
        for level in range(depth(SCALAR_CHUNK), depth(padded)):
            reached = scale[..., min(level, self.levels - 1), None]
            mixed = mixed + across(queries * reached, keys, decay, values, 1 << level - 1)
        return mixed[..., :tokens, :].to(qkv.values_BHSC.dtype)


def within(queries: Tensor, keys: Tensor, decay: Tensor, scale: Tensor, values: Tensor) -> Tensor:
    """What the levels inside a chunk say: B x H x T x V."""
    queries, keys, decay, scale, values = (
        to_chunks(tensor, SCALAR_CHUNK) for tensor in (queries, keys, decay, scale, values)
    )
    return (closed_form(queries, keys, decay) * cells(scale, keys) @ values).flatten(-3, -2)


def across(queries: Tensor, keys: Tensor, decay: Tensor, values: Tensor, block: int) -> Tensor:
    """What the second block of each pair hears of the first one: B x H x T x V."""
    asking, offering, fading, offered = (
        tensor.unflatten(-2, (-1, 2, block)) for tensor in (queries, keys, decay, values)
    )
    memory_BHMCV = (offering[..., 0, :, :] * remaining_decay(fading[..., 0, :, :]).exp()).mT @ offered[..., 0, :, :]
    heard_BHMWV = (asking[..., 1, :, :] * fading[..., 1, :, :].cumsum(-2).exp()) @ memory_BHMCV
    return torch.stack([torch.zeros_like(heard_BHMWV), heard_BHMWV], dim=-3).flatten(-4, -2)


def cells(scale_BHTL: Tensor, keys_BHSC: Tensor, start: int = 0) -> Tensor:
    """The scale of the level of every cell, B x H x T x S; rows from ``start``."""
    queries, levels = scale_BHTL.shape[-2:]
    level_TS = level(queries, keys_BHSC.shape[-2], start, scale_BHTL.device).clamp_max(levels - 1)
    return scale_BHTL.gather(-1, level_TS.expand(*scale_BHTL.shape[:-1], -1))


def level(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """The level at which a query hears a key: the number of bits in which their places differ, up to the highest."""
    places_T1 = torch.arange(start, start + queries, device=device)[:, None]
    differing_TS = places_T1 ^ torch.arange(keys, device=device)
    return torch.frexp(differing_TS.double()).exponent.long()


def depth(length: int) -> int:
    """Levels of a sequence: ``ceil(log2 T) + 1``.

    >>> [depth(length) for length in (1, 2, 3, 64, 65)]
    [1, 2, 3, 7, 8]
    """
    return (length - 1).bit_length() + 1
