"""Softmaxes that may stay silent: rows sum to at most one.

    off-by-one  A_ij = exp(s_ij) / (1 + sum_{k <= i} exp(s_ik))
    sink        A_ij = exp(s_ij) / (exp(b_h) + sum_{k <= i} exp(s_ik)),   b_h learned
    softpick    A_ij = relu(exp(s_ij) - 1) / (e + sum_{k <= i} |exp(s_ik) - 1|)

The first two are a softmax with one more key that has no value and the score 0 or b_h, and are computed so: the
greatest score is taken with that key among them.

Source   off-by-one: Miller, "Attention is off by one" (evanmiller.org, 2023); sink: the learned logit of one head,
         as in gpt-oss; softpick: Zuhri et al., arXiv:2504.20966.
Theirs   eps -> our e.
Differs  b_h starts at ``start``, 0 by our choice: off-by-one exactly. Softpick's e, 1e-8, is added to the sum as
         written above, not to the sum shrunk by its greatest term: one function, however large the scores.

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
"""Softpick's e: a row of zeros is zero, and its slope is finite."""


@register("off-by-one", source="evanmiller.org/attention-is-off-by-one.html", aliases=("softmax1",))
@final
class OffByOne(Attention):
    """Softmax with a one in the denominator."""

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax beside a silent key of score zero."""
        return softmax_with_sink(scores, mask, scores.new_zeros(1))


@register("sink", source="gpt-oss (2025)")
@final
class Sink(Attention):
    """Softmax beside one silent key per head, whose score is learned.

    Options:
        start: The first value of the learned score.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def __init__(self, context: LayerContext, *, start: float = 0.0) -> None:
        super().__init__(context)
        self.sink_H = nn.Parameter(torch.full((context.heads,), start))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + H``."""
        return 4 * width**2 + heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax beside the head's silent key."""
        return softmax_with_sink(scores, mask, self.sink_H[:, None, None])


@register("softpick", source="arXiv:2504.20966")
@final
class Softpick(Attention):
    """Rectified softmax: keys of negative score only take away from the sum."""

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The rectified terms as shares of all terms.

        ``|exp(s) - 1|`` is ``exp(max(s, 0)) (1 - exp(-|s|))``, which is exact for small scores and finite once shrunk
        by the greatest one. A score of zero adds nothing, so masked keys are held there.
        """
        masked = scores.masked_fill(~mask, 0.0)
        top = masked.detach().amax(-1, keepdim=True).clamp_min(0.0)
        strength = (masked.relu() - top).exp() * -torch.expm1(-masked.abs())
        floor = EPSILON * (-top).exp()
        return strength * (masked > 0) / (floor + strength.sum(-1, keepdim=True))
