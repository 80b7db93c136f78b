"""Softmaxes that set their own temperature, and the power that stands in for the exponential.

    ssmax         A = softmax((w_h ln n_i + b_h) s),   n_i = i + 1, i from 0
    norm-softmax  A = softmax(s / min(sd_i, c))
    power         A_ij = s_ij^p / (e + sum_{k <= i} s_ik^p),   p even

n_i counts the keys that row i may hear, and sd_i is their standard deviation (of a population). ``power`` is computed
as softmax over ``p ln |s|`` beside a silent key of score ``ln e``: no power can overflow.

Source   ssmax: Nakanishi, "Scalable-softmax is superior for attention", arXiv:2501.19399; norm-softmax: "NormSoftmax",
         a submission to ICLR 2023 (openreview.net, 4g7nCbpjNwd); power: Kacham, Mirrokni and Zhong,
         "PolySketchFormer", arXiv:2310.01655, known to us from third parties only.
Theirs   s, b -> our w_h, b_h (ssmax);  sqrt(d), for unscaled scores -> our c = 1 (norm-softmax).
Differs  ssmax: w starts at 1 / ln(n / 2), n the longest sequence of the run, b at 0, our choices: as softmax does in
         the middle of it. norm-softmax: the ceiling c is not confirmed; a deviation below 0.001, such as the first
         row's, counts as 0.001, our choice. power: scores are scaled by 1/sqrt(C), and e = 1 is not confirmed; the
         norm on queries and keys is the modifier ``--set model.modifiers.qk_norm=true``; a position's bias is added
         to ``p ln |s|``, since added to s it would make a penalty on far keys raise their weights.

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
"""The least deviation norm-softmax divides by: beneath it lies rounding."""


@register("ssmax", source="arXiv:2501.19399")
@final
class Ssmax(Attention):
    """Softmax that sharpens with the logarithm of how many keys there are, by a learned factor per head.

    Options:
        bias: Whether b_h is learned too.
        start: The first value of w_h; null is 1 / ln(n / 2), n the longest sequence of the run.
    """

    def __init__(self, context: LayerContext, *, bias: bool = False, start: float | None = None) -> None:
        super().__init__(context)
        first = 1 / math.log(max(context.length, 4) / 2) if start is None else start
        self.factor_H = nn.Parameter(torch.full((context.heads,), first))
        self.bias_H = nn.Parameter(torch.zeros(context.heads), requires_grad=bias)

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + H``, and H more with the bias."""
        return 4 * width**2 + (2 if options["bias"] else 1) * heads

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores and the position's bias, times the row's factor."""
        count_T1 = qkv.start + torch.arange(1, scores.shape[-2] + 1, dtype=scores.dtype, device=scores.device)[:, None]
        factor_HT1 = self.factor_H[:, None, None] * count_T1.log() + self.bias_H[:, None, None]
        return super().add_bias(scores, bias, qkv) * factor_HT1


@register("norm-softmax", source="NormSoftmax (ICLR 2023 submission)")
@final
class NormSoftmax(Attention):
    """Softmax of scores divided by their standard deviation in each row.

    Options:
        ceiling: c, the most they are divided by.
    """

    def __init__(self, context: LayerContext, *, ceiling: Annotated[float, Field(ge=LEAST)] = 1.0) -> None:
        super().__init__(context)
        self.ceiling = ceiling

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax of the distances from the row's mean, to which softmax is blind."""
        distance, deviation = center_rows(scores, mask)
        return masked_softmax(distance / deviation.clamp(LEAST, self.ceiling), mask)


@register("power", source="arXiv:2310.01655")
@final
class Power(Attention):
    """An even power of each score, divided by their sum: opposite keys are heard alike.

    Options:
        power: p, even.
        floor: e, what is added to the sum: a row of small scores stays silent.
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
        """``p ln |s|``; a score of zero counts as 1e-30."""
        return self.power * super().score(qkv).abs().clamp_min(TINY).log()

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax beside a silent key that weighs e."""
        return softmax_with_sink(scores, mask, scores.new_full((1,), math.log(self.floor)))
