"""Softmaxes with a temperature that depends on the row, and an even power that replaces the exponential.

    ssmax         A = softmax((w_h ln n_i + b_h) s),   n_i = i + 1, i from 0
    norm-softmax  A = softmax(s / min(sd_i, c))
    power         A_ij = s_ij^p / (e + sum_{k <= i} s_ik^p),   p even

n_i is the number of keys of row i, and sd_i the standard deviation of their scores (of a population). ``power`` is
computed as a softmax of ``p ln |s|`` with a sink of score ``ln e``: no power can overflow.

Source   ssmax: Nakanishi, "Scalable-softmax is superior for attention", arXiv:2501.19399; norm-softmax: "NormSoftmax",
         a submission to ICLR 2023 (openreview.net, 4g7nCbpjNwd); power: Kacham, Mirrokni and Zhong,
         "PolySketchFormer", arXiv:2310.01655, as described by third parties.
Theirs   s, b -> our w_h, b_h (ssmax);  sqrt(d), for unscaled scores -> our c = 1 (norm-softmax).
Differs  ssmax: w starts at 1 / ln(n / 2), n the longest sequence of the run, b at 0, our choices: the factor is 1 in
         the middle of that sequence, as in softmax. norm-softmax: the limit c is not confirmed; a deviation below
         0.001, such as the first row's, counts as 0.001, our choice. power: scores are scaled by 1/sqrt(C), and e = 1
         is not confirmed; the norm on queries and keys is the modifier ``--set model.modifiers.qk_norm=true``; a
         position's bias is added to ``p ln |s|``, since a penalty on far keys that is added to s would raise their
         weights.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.attention.ops.rowwise import TINY, center_rows, softmax_with_sink
from attnlab.tensors import QKV, LayerContext, masked_softmax

LEAST = 1e-3
"""The least deviation that norm-softmax divides by; smaller ones may be rounding errors."""


@register("ssmax", source="arXiv:2501.19399")
@final
class Ssmax(Attention):
    """Softmax of scores times the logarithm of the number of keys, with a learned factor per head.

    Options:
        bias: Whether b_h is learned too.
        start: Initial value of w_h; null is 1 / ln(n / 2), n the longest sequence of the run.
    """

    def __init__(self, context: LayerContext, *, bias: bool = False, start: float | None = None) -> None:
        super().__init__(context)
        initial = 1 / math.log(max(context.length, 4) / 2) if start is None else start
        self.factor_H = nn.Parameter(torch.full((context.heads,), initial))
        self.bias_H = nn.Parameter(torch.zeros(context.heads), requires_grad=bias)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + H``, and H more with the bias."""
        return 4 * width**2 + (2 if options["bias"] else 1) * heads

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with the position's bias, times the factor of the row."""
        count_T1 = qkv.start + torch.arange(1, scores.shape[-2] + 1, dtype=scores.dtype, device=scores.device)[:, None]
        factor_HT1 = self.factor_H[:, None, None] * count_T1.log() + self.bias_H[:, None, None]
        return super().add_bias(scores, bias, qkv) * factor_HT1


@register("norm-softmax", source="NormSoftmax (ICLR 2023 submission)")
@final
class NormSoftmax(Attention):
    """Softmax of the scores of each row divided by their standard deviation.

    Options:
        ceiling: c, the largest divisor.
    """

    def __init__(self, context: LayerContext, *, ceiling: Annotated[float, Field(ge=LEAST)] = 1.0) -> None:
        super().__init__(context)
        self.ceiling = ceiling

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax of the centered scores over their deviation, B x H x T x S; the shift by the mean has no effect."""
        centered, deviation = center_rows(scores, mask)
        return masked_softmax(centered / deviation.clamp(LEAST, self.ceiling), mask)


@register("power", source="arXiv:2310.01655")
@final
class Power(Attention):
    """An even power of each score over their sum: the sign of a score has no effect.

    Options:
        power: p, even.
        floor: e, added to the sum, so that rows of small scores sum to less than one.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def __init__(
        self,
        context: LayerContext,
        *,
        power: Annotated[int, Field(ge=2, multiple_of=2)] = 4,
        floor: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(context)
        self.power, self.floor = power, floor

    def score(self, qkv: QKV) -> Tensor:
        """``p ln |s|``, B x H x T x S; a score of zero counts as 1e-30."""
        return self.power * super().score(qkv).abs().clamp_min(TINY).log()

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax with a sink of weight e, B x H x T x S."""
        return softmax_with_sink(scores, mask, scores.new_full((1,), math.log(self.floor)))
