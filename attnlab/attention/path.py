"""PaTH: the score of a key is transformed by one reflection for each token between key and query.

    s_ij = q_i^T P_i P_{i-1} ... P_{j+1} k_j / sqrt(C),   P_t = I - b_t w_t w_t^T
    w = unit_length(conv(W_2 W_1 x)),   b = 2 sigmoid(W_b x), per head

then the softmax. One triangular solve computes all products:

    S = tril(Q K^T) - tril(Q W^T) (I + stril(Diag(b) W W^T))^-1 Diag(b) stril(W K^T)

Source   Yang et al., "PaTH attention", arXiv:2505.16381, as its layer in fla computes it.
Theirs   beta -> our b.
Differs  no bias in W_b, and no activation after the convolution, which applies to w alone (the modifier `short_conv`
         applies to the input of the attention); its initialization is our choice. PaTH was made to replace rotary
         positions; here any position can be combined with it, and w is not rotated. The closed form takes T^3
         operations. Above 256 tokens it is computed by blocks of queries and chunks of keys, as their kernel does, in
         T^2 C.

Letters  B batch, H heads, T queries, S keys, C channels per head, D width, K taps.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.ops.blocks import PREFIXES
from attnlab.attention.ops.convolution import causal_convolution
from attnlab.attention.ops.reflections import (
    CHUNK,
    keys_at_chunk_ends,
    keys_at_end,
    queries_at_start,
    scores_in_block,
)
from attnlab.attention.ops.unit import unit_length
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

Count = Annotated[int, Field(ge=1)]
ROWS, SINGLE = 2 * CHUNK, 4 * CHUNK
"""Queries of a block, at least; tokens up to which all are one block."""


@register("path", source="arXiv:2505.16381")
@final
class Path(Attention):
    """Softmax attention with keys that are reflected once for every later token up to the query.

    Options:
        rank: Inner width of the low-rank map to w.
        taps: Tokens in the convolution that gives w; 1 scales its channels only.
    """

    cost = "T^2 D"

    plain_products = False  # it reflects keys

    def __init__(self, context: LayerContext, *, rank: Count = 32, taps: Count = 3) -> None:
        super().__init__(context)
        self.narrow, self.widen = context.linear(context.width, rank), context.linear(rank, context.width)
        self.tap_D1K = context.uniform(context.width, 1, taps, bound=1 / math.sqrt(taps))
        self.strength = context.linear(context.width, context.heads)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 2 r D + D H`` and ``K D`` taps."""
        return 4 * width**2 + 2 * options["rank"] * width + width * heads + options["taps"] * width

    def state_size(self, tokens: int) -> int:
        """A reflected key and a value per token, and the tokens that the convolution reads again."""
        taps, width = self.tap_D1K.shape[-1], min(self.narrow.out_features, self.widen.out_features)
        return super().state_size(tokens) + min(tokens, taps - 1) * width

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; the reflection of each token as extra."""
        axes_BTD = causal_convolution(self.widen(self.narrow(x_BTD)), self.tap_D1K)
        strength_BHS1 = 2 * self.split(self.strength(x_BTD)).sigmoid()
        return super().project(x_BTD, layer_inputs)._replace(extra=(self.split(axes_BTD), strength_BHS1))

    def score(self, qkv: QKV) -> Tensor:
        """Scores through the reflections, B x H x T x S; zero for keys after their query."""
        queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
        first, last = qkv.start // CHUNK * CHUNK, qkv.start + queries.shape[-2]
        axes, strengths = reflections(qkv)
        block = axes[..., first:last, :], strengths[..., first:last, :], qkv.start - first
        scores = scores_in_block(queries, keys[..., first:last, :], *block)
        if first:
            ends, reads = qkv.extra[2:] or keys_at_chunk_ends(keys, axes, strengths)
            earlier = keys_at_end(*(tensor[..., :first, :] for tensor in (ends, reads, axes)))
            scores = torch.cat([queries_at_start(queries, *block) @ earlier.mT, scores], dim=-1)
        return functional.pad(scores, (0, keys.shape[-2] - last)) / math.sqrt(queries.shape[-1])

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; what all blocks of queries read is computed once."""
        if self.fast and self.block_rows(qkv) < qkv.queries_BHTC.shape[-2]:
            shared = keys_at_chunk_ends(at_least_float32(qkv.keys_BHSC), *reflections(qkv))
            qkv = qkv._replace(extra=(*qkv.extra, *shared))
        return super().attend(qkv, position)

    def block_rows(self, qkv: QKV) -> int:
        """Few rows, since the solve for a block grows with their square, yet few blocks, since each reads all keys."""
        tokens = qkv.keys_BHSC.shape[-2]
        return min(super().block_rows(qkv), tokens if tokens <= SINGLE else max(ROWS, tokens // PREFIXES))


def reflections(qkv: QKV) -> tuple[Tensor, Tensor]:
    """Take the reflections of all tokens from the further tensors.

    Args:
        qkv: Queries, keys and values.

    Returns:
        w, of unit length, and b, float32 or more.
    """
    return unit_length(at_least_float32(qkv.extra[0])), at_least_float32(qkv.extra[1])
