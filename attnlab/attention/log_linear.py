"""Log-linear attention: gated linear states of log T levels, each with a weight that depends on the token.

    A_ij = e_(i, l(i,j)) d_j q_i.k_j exp(g_(j+1) + ... + g_i) / sqrt(C)
    l(i, j) = 0 at i = j, else 1 + the highest bit in which i and j differ
    e_il = softplus(L_hl (x_i W)_hl)

The levels are those of a Fenwick tree. Level 0 is the token itself. Level l > 0 is the block of 2^(l-1) tokens before
the token's own block of that size, where the own block is the second of its pair. The levels partition the past. Steps
d and decay g are those of Mamba-2, ``g = -exp(l_h) d``; without ``decay`` d = 1 and g = 0.

Source   Guo et al., "Log-linear attention", arXiv:2506.04761.
Theirs   lambda -> our e;  the state of Mamba-2, here with queries and keys of C channels for each head.
Differs  the gain L_hl starts at 1 (ours). The number of levels is fixed by the longest sequence of the run; beyond it
         the last level contains everything farther. There is no SiLU and no term for the own value; a norm per head
         has no gain.

Letters  B batch, H heads, T queries, S keys, C channels per head, L levels, M pairs of blocks, W tokens per block,
         V width of the values.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, RowConstraint, register
from attnlab.attention.mamba2 import StepAndDecay
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
    """States of blocks that double in size towards the past, weighted by learned scales per level.

    Options:
        decay: Whether the states decay, by a step per token and head; else linear attention with levels.
    """

    row_constraint = RowConstraint.FREE
    cost = "T log T D C"
    only_recurrence: ClassVar[bool] = False

    def __init__(self, context: LayerContext, *, decay: bool = True) -> None:
        super().__init__(context)
        self.levels = depth(context.length)
        self.clock = StepAndDecay(context) if decay else None
        self.scale = context.linear(context.width, context.heads * self.levels)
        self.gain_HL = nn.Parameter(torch.ones(context.heads * self.levels))
        """Stored with one axis: weight decay applies to matrices."""

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
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

    def state_size(self, tokens: int) -> int:
        """One state for each block of the past: one block for each binary digit of its length that is 1."""
        return tokens.bit_count() * super().state_size(tokens)

    def recurrence(self, qkv: QKV) -> Recurrence:
        """The recurrence without the weights of the levels."""
        queries = qkv.queries_BHTC / math.sqrt(qkv.queries_BHTC.shape[-1])
        if self.clock is None:
            return Recurrence(queries, qkv.keys_BHSC, no_decay(qkv.keys_BHSC))
        _, step_BHS1, decay_BHS1 = qkv.extra
        return Recurrence(queries, qkv.keys_BHSC * step_BHS1, decay_BHS1)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form of the recurrence, times the scale of the level of each cell, B x H x T x S."""
        rows = slice(qkv.start, qkv.start + qkv.queries_BHTC.shape[-2])
        return super().weights(qkv, position) * level_scales(qkv.extra[0][..., rows, :], qkv.keys_BHSC, qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form within chunks; for every higher level, one state per pair of blocks."""
        if not self.uses_scan(qkv):
            return super().attend(qkv, position)
        tokens, values = qkv.values_BHSC.shape[-2], at_least_float32(qkv.values_BHSC)
        padded = SCALAR_CHUNK << max(0, (tokens - 1).bit_length() - (SCALAR_CHUNK - 1).bit_length())
        inputs = (*self.recurrence(with_float32(qkv)), qkv.extra[0], values)
        queries, keys, decay, scale, values = (to_chunks(tensor, padded).squeeze(-3) for tensor in inputs)
        mixed = within(queries, keys, decay, scale, values)
        for level in range(depth(SCALAR_CHUNK), depth(padded)):
            weight = scale[..., min(level, self.levels - 1), None]
            mixed = mixed + across(queries * weight, keys, decay, values, 1 << level - 1)
        return mixed[..., :tokens, :].to(qkv.values_BHSC.dtype)


def within(queries: Tensor, keys: Tensor, decay: Tensor, scale: Tensor, values: Tensor) -> Tensor:
    """Compute the output of the levels inside chunks.

    Args:
        queries: B x H x T x C.
        keys: B x H x T x C.
        decay: Logarithm of the fraction that remains, B x H x T x 1.
        scale: Weight of each level, B x H x T x L.
        values: B x H x T x V.

    Returns:
        B x H x T x V.
    """
    queries, keys, decay, scale, values = (
        to_chunks(tensor, SCALAR_CHUNK) for tensor in (queries, keys, decay, scale, values)
    )
    return (closed_form(queries, keys, decay) * level_scales(scale, keys) @ values).flatten(-3, -2)


def across(queries: Tensor, keys: Tensor, decay: Tensor, values: Tensor, block: int) -> Tensor:
    """Compute the output of one level: the second block of each pair reads the state of the first.

    Args:
        queries: Queries times the scale of the level, B x H x T x C.
        keys: B x H x T x C.
        decay: Logarithm of the fraction that remains, B x H x T x 1.
        values: B x H x T x V.
        block: Tokens of a block, W.

    Returns:
        B x H x T x V.
    """
    queries, keys, decay, values = (tensor.unflatten(-2, (-1, 2, block)) for tensor in (queries, keys, decay, values))
    state_BHMCV = (keys[..., 0, :, :] * remaining_decay(decay[..., 0, :, :]).exp()).mT @ values[..., 0, :, :]
    output_BHMWV = (queries[..., 1, :, :] * decay[..., 1, :, :].cumsum(-2).exp()) @ state_BHMCV
    return torch.stack([torch.zeros_like(output_BHMWV), output_BHMWV], dim=-3).flatten(-4, -2)


def level_scales(scale_BHTL: Tensor, keys_BHSC: Tensor, start: int = 0) -> Tensor:
    """Look up the scale of the level of every cell.

    Args:
        scale_BHTL: Scale of each level, by query.
        keys_BHSC: Keys; they give S.
        start: Position of the first query among the keys.

    Returns:
        B x H x T x S.
    """
    queries, levels = scale_BHTL.shape[-2:]
    level_TS = level(queries, keys_BHSC.shape[-2], start, scale_BHTL.device).clamp_max(levels - 1)
    return scale_BHTL.gather(-1, level_TS.expand(*scale_BHTL.shape[:-1], -1))


def level(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """Compute the level of every cell: 1 + the highest bit in which the two positions differ, or 0 for equal ones.

    Args:
        queries: T.
        keys: S.
        start: Position of the first query among the keys.
        device: Device of the result.

    Returns:
        Levels, int64, T x S.
    """
    positions_T1 = torch.arange(start, start + queries, device=device)[:, None]
    differing_TS = positions_T1 ^ torch.arange(keys, device=device)
    return torch.frexp(differing_TS.double()).exponent.long()


def depth(length: int) -> int:
    """Count the levels of a sequence: ``ceil(log2 T) + 1``.

    Args:
        length: T.

    Returns:
        L.

    >>> [depth(length) for length in (1, 2, 3, 64, 65)]
    [1, 2, 3, 7, 8]
    """
    return (length - 1).bit_length() + 1
