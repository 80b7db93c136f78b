"""Softmaxes with a sink: rows sum to at most one.

    off-by-one  A_ij = exp(s_ij) / (1 + sum_{k <= i} exp(s_ik))
    sink        A_ij = exp(s_ij) / (exp(b_h) + sum_{k <= i} exp(s_ik)),   b_h learned
    softpick    A_ij = relu(exp(s_ij) - 1) / (e + sum_{k <= i} |exp(s_ik) - 1|)

The first two are a softmax with one more key, the sink, with the value zero and the score 0 or b_h. The maximum that is
subtracted before the exponential includes the sink.

Source   off-by-one: Miller, "Attention is off by one" (evanmiller.org, 2023); sink: one learned logit per head,
         as in gpt-oss; softpick: Zuhri et al., arXiv:2504.20966.
Theirs   eps -> our e.
Differs  b_h starts at ``start``, 0 by our choice, which equals off-by-one. Softpick's e, 1e-8, is added to the sum as
         written above, not to the sum divided by its largest term, so that the function does not depend on the scale of
         the scores.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.attention.ops.rowwise import softmax_with_sink
from attnlab.tensors import QKV, LayerContext

EPSILON = 1e-8
"""Softpick's e: with it, a row of zero scores has zero weights and a finite gradient."""


@register("off-by-one", source="evanmiller.org/attention-is-off-by-one.html", aliases=("softmax1",))
@final
class OffByOne(Attention):
    """Softmax with a one in the denominator."""

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax with a sink of score zero, B x H x T x S."""
        return softmax_with_sink(scores, mask, scores.new_zeros(1))


@register("sink", source="gpt-oss (2025)")
@final
class Sink(Attention):
    """Softmax with one sink per head, of a learned score.

    Options:
        start: Initial value of the learned score.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def __init__(self, context: LayerContext, *, start: float = 0.0) -> None:
        super().__init__(context)
        self.sink_H = nn.Parameter(torch.full((context.heads,), start))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + H``."""
        return 4 * width**2 + heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax with the sink of the head, B x H x T x S."""
        return softmax_with_sink(scores, mask, self.sink_H[:, None, None])


@register("softpick", source="arXiv:2504.20966")
@final
class Softpick(Attention):
    """Rectified softmax: keys with negative scores count in the sum only."""

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The rectified terms over the sum of all terms, B x H x T x S.

        ``|exp(s) - 1|`` is computed as ``exp(max(s, 0)) (1 - exp(-|s|))``, which is exact for small scores, and finite
        after division by the largest term. A score of zero adds nothing to the sum, so masked keys get that score.
        """
        masked = scores.masked_fill(~mask, 0.0)
        top = masked.detach().amax(-1, keepdim=True).clamp_min(0.0)
        magnitude = (masked.relu() - top).exp() * -torch.expm1(-masked.abs())
        epsilon = EPSILON * (-top).exp()
        return magnitude * (masked > 0) / (epsilon + magnitude.sum(-1, keepdim=True))
