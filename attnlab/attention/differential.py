"""Differential attention: the difference of two softmaxes, which cancels their common noise.

    A   = softmax(q1.k1 / sqrt(C/2)) - l softmax(q2.k2 / sqrt(C/2))
    l   = exp(a1.b1) - exp(a2.b2) + l0,   l0 = 0.8 - 0.6 exp(-0.3 n)
    o   = (1 - l0) g rms(A v)

Queries and keys of a head are split into two halves of C / 2 channels; the values have all C. n is the layer, from 0.
Every row of A sums to 1 - l. There is one l per layer, not per head.

``version=2`` has two queries of C channels for each key and each value, one l per token and head, and no norm:

    A   = softmax(q1.k / sqrt(C)) - l softmax(q2.k / sqrt(C)),   l = sigmoid(W_l x),   o = A v

so that row i of A sums to 1 - l_i, between 0 and 1.

Source   Ye et al., "Differential transformer", arXiv:2410.05258, and its public code; version 2: "DIFF V2" (January
         2026), microsoft/diff-attn-v2, and Diff-Transformer-V2 in microsoft/unilm.
Theirs   lambda, lambda_init -> our l, l0;  lambda_q1, lambda_k1, lambda_q2, lambda_k2 -> our a1, b1, a2, b2;  d -> our
         C / 2; their number of heads is half of a usual transformer's of equal width. In version 2 their 2h query heads
         are our H pairs of queries.
Differs  both halves are those of one head, where the code takes heads 2h and 2h + 1: the same up to a relabeling.
         Version 2 has one key and one value for each pair, no larger groups.

Letters  B batch, 2 the branches, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.sdpa import empty_scores, sdpa
from attnlab.attention.ops.unit import head_norm
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, masked_softmax, with_float32


@register("differential", source="arXiv:2410.05258", aliases=("diff",))
@final
class Differential(Attention):
    """The difference of two softmaxes, each with half of the channels of queries and keys, or with queries of its own.

    Options:
        version: 1 splits queries and keys and normalizes each head; 2 doubles the queries and has no norm.
    """

    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext, *, version: Literal[1, 2] = 1) -> None:
        super().__init__(context)
        self.version = version
        if version == 2:
            self.row_constraint = RowConstraint.FREE
            self.query = context.linear(context.width, 2 * context.width)
            self.noise = context.linear(context.width, context.heads)
            return
        if context.channels % 2:
            hint = f"With {context.heads} heads, use a width that is a multiple of {2 * context.heads}."
            raise InvalidValueError(
                f"Two branches need an even number of channels per head, not {context.channels}.", hint
            )
        half = context.channels // 2
        self.a1, self.b1, self.a2, self.b2 = (context.normal(half, std=0.1) for _ in range(4))
        self.gain_C = nn.Parameter(torch.ones(context.channels))
        self.base = 0.8 - 0.6 * math.exp(-0.3 * context.layer)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 3 C``: four vectors of C / 2, and the gain; for version 2 ``5 D^2 + D H``."""
        if options["version"] == 2:
            return 5 * width**2 + width * heads
        return 4 * width**2 + 3 * (width // heads)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values, with the two branches on an axis before the heads; in version 2, l too."""
        qkv = super().project(x_BTD, layer_inputs)
        if self.version == 2:
            share_BHT1 = at_least_float32(self.split(self.noise(x_BTD))).sigmoid()
            queries_B2HTC = qkv.queries_BHTC.unflatten(-1, (2, -1)).movedim(-2, -4)
            keys_B1HSC = qkv.keys_BHSC.unsqueeze(-4)
            return qkv._replace(queries_BHTC=queries_B2HTC, keys_BHSC=keys_B1HSC, extra=(share_BHT1,))
        return qkv._replace(queries_BHTC=halves(qkv.queries_BHTC), keys_BHSC=halves(qkv.keys_BHSC))

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; by a kernel that holds no scores in version 2 without a bias."""
        if self.version == 2 and self.fast and not self.biased:
            return self.attend_rows(qkv, position)
        return super().attend(qkv, position)

    def attend_rows(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values for queries all in one chunk; in version 2 those of each branch, subtracted."""
        if self.version == 1 or not self.fast or (self.biased and position.reads_scores):
            return super().attend_rows(qkv, position)
        bias = position.bias(empty_scores(qkv), with_float32(qkv), self.layer) if self.biased else None
        (keys_BHSC,) = qkv.keys_BHSC.unbind(-4)
        signal_BHTC, noise_BHTC = (
            sdpa(qkv._replace(queries_BHTC=queries_BHTC, keys_BHSC=keys_BHSC), of_branch(bias, branch), None)
            for branch, queries_BHTC in enumerate(qkv.queries_BHTC.unbind(-4))
        )
        share_BHT1 = qkv.extra[0][..., qkv.start : qkv.start + signal_BHTC.shape[-2], :]
        return torch.addcmul(signal_BHTC, share_BHT1.to(signal_BHTC.dtype), noise_BHTC, value=-1)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The first softmax less l times the second."""
        signal_BHTS, noise_BHTS = masked_softmax(scores, mask).unbind(-4)
        if self.version == 2:
            (share_BHT1,) = qkv.extra
            return signal_BHTS - share_BHT1[..., qkv.start : qkv.start + scores.shape[-2], :] * noise_BHTS
        return signal_BHTS - self.noise_weight().to(scores.dtype) * noise_BHTS

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The update of the residual stream; in version 1 each head is normalized and multiplied by 1 - l0."""
        if self.version == 2:
            return super().output(mixed_BHTC, x_BTD)
        normed_BHTC = head_norm(mixed_BHTC.to(self.gain_C.dtype), self.gain_C)
        return super().output((1 - self.base) * normed_BHTC, x_BTD)

    def noise_weight(self) -> Tensor:
        """The l of version 1, the weight of the second softmax, a scalar."""
        return (self.a1 * self.b1).sum().exp() - (self.a2 * self.b2).sum().exp() + self.base


def halves(x_BHTC: Tensor) -> Tensor:
    """The halves of the channels, on an axis before the heads.

    Args:
        x_BHTC: Queries or keys.

    Returns:
        B x 2 x H x T x C/2.
    """
    return torch.stack(x_BHTC.chunk(2, dim=-1), dim=-4)


def of_branch(bias: Tensor | None, branch: int) -> Tensor | None:
    """The bias of one of two branches.

    Args:
        bias: Broadcastable to ... x 2 x H x T x S; None where the position has none.
        branch: 0 or 1.

    Returns:
        Broadcastable to ... x H x T x S, or None.
    """
    if bias is None or bias.ndim < 4:
        return bias
    return bias.select(-4, branch if bias.shape[-4] > 1 else 0)
