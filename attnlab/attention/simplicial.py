"""2-simplicial attention: a query attends to pairs of keys, and reads products of pairs of values.

    s_ijk = sum_c q_ic k_jc k'_kc / sqrt(C),   o_ic = sum_{j,k} softmax_{j,k}(s_i)_jk v_jc v'_kc
    A^c_ij = sum_k softmax_{j,k}(s_i)_jk v'_kc

for j <= i and i - N < k <= i, with second keys and values k' and v' from maps of their own. The output is linear in v,
with one matrix for each channel: values are held as H C heads of one channel.

Source   Roy et al., "Fast and simplex: 2-simplicial attention in Triton", arXiv:2507.02754; Clift et al., "Logic and
         the 2-simplicial transformer", arXiv:1909.00668.
Theirs   K', V' -> our k', v';  the second window -> our N, ``near``.
Differs  the default of N is ours. A position rotates q and k as in other attentions and leaves k' as it is, so that
         scores then depend on absolute positions too: a sum of products of three does not keep rotations out.
         value_residual mixes v alone. Time grows with N T^2; memory is that of a few rows of T N scores.

Letters  B batch, H heads, T queries, S keys, N nearest second keys, C channels per head, HC channels of all heads.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.looped import looped, suits
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, causal_mask, masked_softmax


@register("simplicial", source="arXiv:2507.02754", aliases=("two-simplicial",))
@final
class Simplicial(Attention):
    """Softmax attention over pairs of a key and one of the nearest second keys.

    Options:
        near: N, the second keys of a query: its own token's and those right before it.
    """

    row_constraint = RowConstraint.FREE
    has_scores = False
    cost = "T^2 N D"

    def __init__(self, context: LayerContext, *, near: Annotated[int, Field(ge=1)] = 16) -> None:
        super().__init__(context)
        self.near = min(near, context.length)
        self.second_key = context.linear(context.width, context.width)
        self.second_value = context.linear(context.width, context.width)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``6 D^2``."""
        return 6 * width**2

    def state_size(self, tokens: int) -> int:
        """A key and a value per token, and the last N - 1 inputs, of which second keys and values are made."""
        return super().state_size(tokens) + min(tokens, self.near - 1) * self.second_key.in_features

    @property
    def score_maps(self) -> int:
        """One for each second key of each head."""
        return self.num_heads * self.near

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values by channel, B x HC x S x 1, and second keys and values."""
        qkv = super().project(x_BTD, layer_inputs)
        second = self.split(self.second_key(x_BTD)), self.split(self.second_value(x_BTD))
        return qkv._replace(values_BHSC=by_channel(qkv.values_BHSC), extra=second)

    def pairs(self, qkv: QKV) -> tuple[Tensor, Tensor]:
        """The weights of all pairs, and the second values.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            B x H x T x N x S, which sum to 1 over the last two axes, and B x H x T x N x C; float32 or more.
        """
        queries, keys = at_least_float32(qkv.queries_BHTC), at_least_float32(qkv.keys_BHSC)
        rows, tokens = queries.shape[-2], keys.shape[-2]
        near = min(self.near, tokens)
        second_keys, second_values = (nearest(at_least_float32(part), near, qkv.start, rows) for part in qkv.extra)
        readers_BHTNC = queries[..., None, :] * second_keys / math.sqrt(queries.shape[-1])
        scores_BHTNS = (readers_BHTNC.flatten(-3, -2) @ keys.mT).unflatten(-2, (rows, near))
        row_T = torch.arange(rows, device=queries.device) + qkv.start
        exists_TN = torch.arange(near, device=queries.device) <= row_T[:, None]
        mask_TNS = causal_mask(rows, tokens, qkv.start, queries.device)[:, None] & exists_TN[..., None]
        weights = masked_softmax(scores_BHTNS.flatten(-2), mask_TNS.flatten(-2))
        return weights.unflatten(-1, (near, tokens)), second_values

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The matrix of each channel, B x HC x T x S."""
        weights_BHTNS, second_BHTNC = self.pairs(qkv)
        return torch.einsum("...tns,...tnc->...cts", weights_BHTNS, second_BHTNC).flatten(-4, -3)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; over all queries by compiled loops, where they are usable."""
        tensors = qkv.queries_BHTC, qkv.keys_BHSC, *qkv.extra, qkv.values_BHSC
        if not self.fast or qkv.values_BHSC.shape[-1] != 1 or not suits(*tensors):
            return super().attend(qkv, position)
        from attnlab.attention.ops.simplicial_loops import SimplicialLoops

        return by_channel(looped(SimplicialLoops(self.near), *tensors[:-1], by_head(tensors[-1], self.num_heads)))

    def attend_rows(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; for values of one channel each, without their matrices."""
        if not self.fast or qkv.values_BHSC.shape[-1] != 1:
            return super().attend_rows(qkv, position)
        weights_BHTNS, second_BHTNC = self.pairs(qkv)
        values_BHSC = by_head(at_least_float32(qkv.values_BHSC), self.num_heads)
        first_BHTNC = (weights_BHTNS.flatten(-3, -2) @ values_BHSC).unflatten(-2, weights_BHTNS.shape[-3:-1])
        return by_channel((first_BHTNC * second_BHTNC).sum(-2)).to(qkv.values_BHSC.dtype)

    def excluded(self, mixed_BHTC: Tensor, values_BHTC: Tensor) -> Tensor:
        """The output of each head without its part along the token's own value, by channel."""
        mixed, own = (by_head(part, self.num_heads) for part in (mixed_BHTC, values_BHTC))
        return by_channel(super().excluded(mixed, own))


def by_channel(tensor_BHSC: Tensor) -> Tensor:
    """Every channel as a head of its own.

    Args:
        tensor_BHSC: Values, or sums of them.

    Returns:
        B x HC x S x 1.
    """
    return tensor_BHSC.mT.flatten(-3, -2).unsqueeze(-1)


def by_head(tensor_BXS1: Tensor, heads: int) -> Tensor:
    """The reverse of ``by_channel``.

    Args:
        tensor_BXS1: B x HC x S x 1.
        heads: H.

    Returns:
        B x H x S x C.
    """
    return tensor_BXS1.squeeze(-1).unflatten(-2, (heads, -1)).mT


def nearest(tensor_BHSC: Tensor, near: int, start: int, rows: int) -> Tensor:
    """What the tokens right before each row hold, the row's own first.

    Args:
        tensor_BHSC: Second keys or values of all tokens.
        near: N, at most S.
        start: Index of the first row.
        rows: T.

    Returns:
        B x H x T x N x C; zero before the first token.
    """
    padded = functional.pad(tensor_BHSC, (0, 0, near - 1, 0))
    firsts = range(start + near - 1, start - 1, -1)
    return torch.stack([padded[..., first : first + rows, :] for first in firsts], dim=-2)
