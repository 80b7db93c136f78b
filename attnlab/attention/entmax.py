"""Sparsemax and alpha-entmax: rows that sum to one, with exact zeros.

    A_ij = [(a - 1) s_ij - t_i]_+ ^ (1 / (a - 1)),   t_i such that the row sums to one

with ``a`` alpha: 1 is softmax (the limit), 2 is sparsemax. t_i is computed by sorting where a is 2 or 1.5, by bisection
otherwise. Its gradient is the implicit one, for scores and alpha: with ``P(s, a, t)`` the formula above and
``P_t = -P^(2 - a) / (a - 1)``, ``dt = -sum dP / sum P_t`` over the row.

Source   sparsemax: Martins and Astudillo, arXiv:1602.02068; entmax by sorting: Peters et al., arXiv:1905.05702;
         bisection and a learned alpha: Correia et al., "Adaptively sparse transformers", arXiv:1909.00015.
Theirs   tau -> our t.
Differs  a learned alpha is ``1 + sigmoid(a_h)``, at least 1.01, where float32 is still accurate; it starts at 1.5,
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

MIN_ALPHA = 1.01
"""The smallest alpha: below it the exponent 1 / (alpha - 1) is too large for the precision of float32."""
ZERO_WEIGHT_LEVEL = -2.0
"""Levels are relative to the largest score of their row, and t is never below -1: an entry at this level has weight
zero."""
BISECTION_STEPS = {torch.float32: 30, torch.float64: 56}
"""Halvings of the interval that contains t, up to the precision of the type."""


@register("sparsemax", source="arXiv:1602.02068")
@final
class Sparsemax(Attention):
    """The projection of the scores onto the simplex: few keys have a weight, and it is linear in their score."""

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Sparsemax of the allowed keys."""
        return entmax(scores, mask, 2.0)


@register("entmax", source="arXiv:1905.05702, arXiv:1909.00015")
@final
class Entmax(Attention):
    """A family of sparse normalizers between softmax and sparsemax.

    Options:
        alpha: 2 is sparsemax, the limit 1 is softmax; ``adaptive`` learns one between 1 and 2 for each head.
    """

    def __init__(
        self, context: LayerContext, *, alpha: Annotated[float, Field(ge=MIN_ALPHA)] | Literal["adaptive"] = 1.5
    ) -> None:
        super().__init__(context)
        self.alpha = alpha
        if alpha == "adaptive":
            self.alpha_H = nn.Parameter(torch.zeros(context.heads))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2``, and H where alpha is learned."""
        return 4 * width**2 + (heads if options["alpha"] == "adaptive" else 0)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Entmax of the allowed keys."""
        if self.alpha != "adaptive":
            return entmax(scores, mask, self.alpha)
        alpha_H11 = (1 + self.alpha_H[:, None, None].to(scores.dtype).sigmoid()).clamp_min(MIN_ALPHA)
        return entmax(scores, mask, alpha_H11)


def entmax(scores: Tensor, mask: Tensor, alpha: Tensor | float) -> Tensor:
    """Entmax over the allowed keys, differentiable in scores and alpha; a row without such keys is zero.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.
        alpha: Above one; a tensor must broadcast to the scores.

    Returns:
        Weights of the shape of the scores.
    """
    largest = scores.detach().masked_fill(~mask, torch.finfo(scores.dtype).min).amax(-1, keepdim=True)
    level = ((alpha - 1) * (scores - largest)).clamp_min(ZERO_WEIGHT_LEVEL).masked_fill(~mask, ZERO_WEIGHT_LEVEL)
    power = 1 / (alpha - 1)
    excess = level - threshold(level.detach(), alpha)
    support = (excess > 0) & mask
    base = excess.where(support, torch.ones_like(excess))  # the gradient of a power of zero is not finite
    mass = base.pow(power).where(support, torch.zeros_like(excess))
    grad = (power * base.pow(power - 1)).where(support, torch.zeros_like(excess)).detach()
    # Zero in value; it carries the implicit gradient of t with respect to scores and alpha.
    shift = (mass - mass.detach()).sum(-1, keepdim=True) / grad.sum(-1, keepdim=True).clamp_min(TINY)
    weights = mass - grad * shift
    return weights / weights.sum(-1, keepdim=True).clamp_min(TINY)


@torch.no_grad()
def threshold(level: Tensor, alpha: Tensor | float) -> Tensor:
    """T of each row.

    Args:
        level: ``(alpha - 1) s`` relative to the largest of the row, ... x T x S.
        alpha: Above one; a tensor must broadcast to the levels.

    Returns:
        ... x T x 1.
    """
    if isinstance(alpha, Tensor):
        return threshold_by_bisection(level, 1 / (alpha.detach() - 1))
    exact = {1.5: entmax_threshold, 2.0: sparsemax_threshold}
    return exact[alpha](level) if alpha in exact else threshold_by_bisection(level, 1 / (alpha - 1))


def sparsemax_threshold(level: Tensor) -> Tensor:
    """T for alpha 2: ``(sum of the k largest levels - 1) / k``, with the largest k for which all k exceed it.

    Args:
        level: ... x T x S, at most zero.

    Returns:
        ... x T x 1.
    """
    ordered = level.sort(-1, descending=True).values
    count = torch.arange(1, level.shape[-1] + 1, dtype=level.dtype, device=level.device)
    candidates = (ordered.cumsum(-1) - 1) / count
    last = (ordered > candidates).sum(-1, keepdim=True) - 1
    return candidates.gather(-1, last)


def entmax_threshold(level: Tensor) -> Tensor:
    """T for alpha 1.5, where ``sum (level - t)^2 = 1`` is a quadratic in t.

    Args:
        level: ... x T x S, at most zero.

    Returns:
        ... x T x 1.
    """
    ordered = level.sort(-1, descending=True).values
    count = torch.arange(1, level.shape[-1] + 1, dtype=level.dtype, device=level.device)
    mean = ordered.cumsum(-1) / count
    variance = ordered.square().cumsum(-1) / count - mean.square()
    candidates = mean - (1 / count - variance).clamp_min(0.0).sqrt()
    last = (ordered >= candidates).sum(-1, keepdim=True) - 1
    return candidates.gather(-1, last)


def threshold_by_bisection(level: Tensor, power: Tensor | float) -> Tensor:
    """T by bisection: at t = -1 the largest level alone has weight one, at t = 0 all weights are zero.

    Args:
        level: ... x T x S, at most zero.
        power: ``1 / (alpha - 1)``.

    Returns:
        ... x T x 1.
    """
    low = torch.full_like(level[..., :1], -1.0)
    for step in range(1, BISECTION_STEPS[level.dtype] + 1):
        middle = low + 0.5**step
        sum_too_large = (level - middle).clamp_min(0.0).pow(power).sum(-1, keepdim=True) >= 1
        low = middle.where(sum_too_large, low)
    return low
