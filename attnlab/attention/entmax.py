"""Sparsemax and alpha-entmax: rows that sum to one, with exact zeros.

    A_ij = [(a - 1) s_ij - t_i]_+ ^ (1 / (a - 1)),   t_i such that the row sums to one

with ``a`` alpha: 1 is softmax (the limit), 2 is sparsemax. t_i is found by sorting where a is 2 or 1.5, by bisection
otherwise. Its slope is the implicit one, to scores and to alpha alike: with ``P(s, a, t)`` the formula above and
``P_t = -P^(2 - a) / (a - 1)``, ``dt = -sum dP / sum P_t`` over the row.

Source   sparsemax: Martins and Astudillo, arXiv:1602.02068; entmax by sorting: Peters et al., arXiv:1905.05702;
         bisection and a learned alpha: Correia et al., "Adaptively sparse transformers", arXiv:1909.00015.
Theirs   tau -> our t.
Differs  a learned alpha is ``1 + sigmoid(a_h)``, at least 1.01, where float32 still has its digits; it starts at 1.5,
         our choice. A key of weight zero gives no gradient, to its score or to its value.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.attention.base import Attention, register
from attnlab.attention.ops.rowwise import TINY
from attnlab.tensors import QKV, LayerContext

LEAST = 1.01
"""The least alpha: below it the digits of float32 are lost to the exponent 1 / (alpha - 1)."""
OUTSIDE = -2.0
"""Scores are measured from the best of their row and t is never below -1: what stands here has no weight."""
HALVINGS = {torch.float32: 30, torch.float64: 56}
"""Halvings of the interval in which t is looked for, as many as a float of that kind can tell apart."""


@register("sparsemax", source="arXiv:1602.02068")
@final
class Sparsemax(Attention):
    """The nearest point of the simplex: far fewer keys than softmax, in proportion to their scores."""

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Sparsemax of the allowed keys."""
        return entmax(scores, mask, 2.0)


@register("entmax", source="arXiv:1905.05702, arXiv:1909.00015")
@final
class Entmax(Attention):
    """Between softmax and sparsemax.

    Options:
        alpha: 2 is sparsemax, towards 1 it becomes softmax; ``adaptive`` learns one between 1 and 2 for each head.
    """

    def __init__(
        self, context: LayerContext, *, alpha: Annotated[float, Field(ge=LEAST)] | Literal["adaptive"] = 1.5
    ) -> None:
        super().__init__(context)
        self.alpha = alpha
        if alpha == "adaptive":
            self.alpha_H = nn.Parameter(torch.zeros(context.heads))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2``, and H where alpha is learned."""
        return 4 * width**2 + (heads if options["alpha"] == "adaptive" else 0)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Entmax of the allowed keys."""
        if self.alpha != "adaptive":
            return entmax(scores, mask, self.alpha)
        alpha_H11 = (1 + self.alpha_H[:, None, None].to(scores.dtype).sigmoid()).clamp_min(LEAST)
        return entmax(scores, mask, alpha_H11)


def entmax(scores: Tensor, mask: Tensor, alpha: Tensor | float) -> Tensor:
    """Entmax over the allowed keys, differentiable in scores and alpha; a row without such keys is zero.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.
        alpha: Above one; a tensor must broadcast to the scores.
    """
    best = scores.detach().masked_fill(~mask, torch.finfo(scores.dtype).min).amax(-1, keepdim=True)
    level = ((alpha - 1) * (scores - best)).clamp_min(OUTSIDE).masked_fill(~mask, OUTSIDE)
    power = 1 / (alpha - 1)
    above = level - threshold(level.detach(), alpha)
    inside = (above > 0) & mask
    base = above.where(inside, torch.ones_like(above))  # a power of zero has no slope
    mass = base.pow(power).where(inside, torch.zeros_like(above))
    grad = (power * base.pow(power - 1)).where(inside, torch.zeros_like(above)).detach()
    # Zero in value; it carries the slope of t to the scores and alpha that t was found from.
    shift = (mass - mass.detach()).sum(-1, keepdim=True) / grad.sum(-1, keepdim=True).clamp_min(TINY)
    weights = mass - grad * shift
    return weights / weights.sum(-1, keepdim=True).clamp_min(TINY)


@torch.no_grad()
def threshold(level: Tensor, alpha: Tensor | float) -> Tensor:
    """What each row is lowered by, ... x T x 1; the best level of a row is zero."""
    if isinstance(alpha, Tensor):
        return bisected(level, 1 / (alpha.detach() - 1))
    sorters = {1.5: entmax_sorted, 2.0: sparsemax_sorted}
    return sorters[alpha](level) if alpha in sorters else bisected(level, 1 / (alpha - 1))


def sparsemax_sorted(level: Tensor) -> Tensor:
    """The mean excess of the k best levels, k the most for which all k stay above it."""
    ordered = level.sort(-1, descending=True).values
    count = torch.arange(1, level.shape[-1] + 1, dtype=level.dtype, device=level.device)
    excess = (ordered.cumsum(-1) - 1) / count
    last = (ordered > excess).sum(-1, keepdim=True) - 1
    return excess.gather(-1, last)


def entmax_sorted(level: Tensor) -> Tensor:
    """The same for alpha 1.5, where ``sum (level - t)^2 = 1`` is a quadratic in t."""
    ordered = level.sort(-1, descending=True).values
    count = torch.arange(1, level.shape[-1] + 1, dtype=level.dtype, device=level.device)
    mean = ordered.cumsum(-1) / count
    variance = ordered.square().cumsum(-1) / count - mean.square()
    root = mean - (1 / count - variance).clamp_min(0.0).sqrt()
    last = (ordered >= root).sum(-1, keepdim=True) - 1
    return root.gather(-1, last)


def bisected(level: Tensor, power: Tensor | float) -> Tensor:
    """By halving: at -1 the best key alone weighs one, at 0 nothing weighs anything."""
    low = torch.full_like(level[..., :1], -1.0)
    for halving in range(1, HALVINGS[level.dtype] + 1):
        middle = low + 0.5**halving
        heavy = (level - middle).clamp_min(0.0).pow(power).sum(-1, keepdim=True) >= 1
        low = middle.where(heavy, low)
    return low
