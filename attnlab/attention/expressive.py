"""Expressive attention: parallel and antiparallel keys are heard, orthogonal ones are not.

    A_ij = f(z_ij) b_ij / sum_{k <= i} f(z_ik) b_ik
    f(z) = z^2 / (1 + z^2),   z_ij = scale * q_i.k_j

with ``b`` the exponential of the position's bias, if there is one. Computed as the shared softmax over
``log f(z) + log b``, which is the same, exactly.

Source   Gros, "Reorganizing attention-space geometry with expressive attention", arXiv:2407.18601. That it builds
         on the squared dot product is the abstract's; the squash and the plain row normalization are known from
         third parties only.
Theirs   z_mk = Q_m.K_k -> our z_ij;  N_m -> our row sum.
Differs  the scores are scaled by 1/sqrt(C) unless ``scale`` says otherwise (the known form is unscaled: scale 1);
         a position multiplies f, after the squaring, since a bias on z would lose its sign.

Letters  B batch, H heads, T queries, P of them that are asked, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from attnlab.attention.base import Attention, Position, register
from attnlab.tensors import QKV, LayerContext, at_least_float32, causal_mask_at, gather_tokens

TINY, FAINT = 1e-30, 1e-19
"""A row whose best key is below TINY counts as zero. A key below FAINT times the root of the best one is heard as if
it stood there, with a weight below 1e-18 (if the best one is above 1e-20): beneath it float32 has no room for the
square of their ratio, nor for its slope."""


@register("expressive", source="arXiv:2407.18601")
@final
class Expressive(Attention):
    """Squared dot products, squashed and normalized: z^2 / (1 + z^2).

    Options:
        scale: Factor on the dot product before squaring; null is 1/sqrt(C).
    """

    def __init__(self, context: LayerContext, *, scale: Annotated[float, Field(gt=0)] | None = None) -> None:
        super().__init__(context)
        self.scale = scale if scale is not None else 1 / math.sqrt(context.channels)

    def score(self, qkv: QKV) -> Tensor:
        """``log f(z)``, up to one constant per row, to which the softmax is blind."""
        return log_squash(self.products(qkv), qkv.start)

    def products(self, qkv: QKV) -> Tensor:
        """Scaled products: z."""
        return qkv.queries_BHTC @ qkv.keys_BHSC.mT * self.scale

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """Without a bias, the rational form itself, with its way back written out: a third of the time."""
        if not self.fast or self.biased:
            return super().weights(qkv, position)
        lifted = qkv._replace(
            queries_BHTC=at_least_float32(qkv.queries_BHTC), keys_BHSC=at_least_float32(qkv.keys_BHSC)
        )
        return rational(self.products(lifted), qkv.start)

    @property
    def supports_query_subset(self) -> bool:
        """Without a bias."""
        return self.fast and not self.biased

    def attend_queries(self, qkv: QKV, position: Position, query_positions_BP: Tensor) -> Tensor:
        """Those rows alone, as many at a time as fit into the room where no gradient is recorded."""
        most = query_positions_BP.shape[1] if torch.is_grad_enabled() else self.query_chunk(qkv)
        if query_positions_BP.shape[1] > most:
            return torch.cat(
                [self.attend_queries(qkv, position, part_BP) for part_BP in query_positions_BP.split(most, 1)], dim=-2
            )
        queries_BHPC = at_least_float32(gather_tokens(qkv.queries_BHTC, query_positions_BP))
        z_BHPS = self.products(qkv._replace(queries_BHTC=queries_BHPC, keys_BHSC=at_least_float32(qkv.keys_BHSC)))
        weights_BHPS = rational(z_BHPS, reached=causal_mask_at(query_positions_BP, z_BHPS.shape[-1], z_BHPS.ndim))
        return weights_BHPS.to(qkv.values_BHSC.dtype) @ qkv.values_BHSC


def rational(z_BHTS: Tensor, start: int = 0, reached: Tensor | None = None) -> Tensor:
    """``f(z)`` over its row's sum, over the keys that are heard.

    Args:
        z_BHTS: Scaled products.
        start: Index of the first query among the keys; those not after a query are heard.
        reached: Which keys are heard instead, bool, broadcastable to the products.
    """
    weights, _ = Rational.apply(z_BHTS, start, reached)  # type: ignore[no-untyped-call]
    return weights


@final
class Rational(torch.autograd.Function):
    """``f(z)`` over its row's sum, over the keys that are heard, and how fast each weight's logarithm grows.

    With m and c as in :func:`log_squash`, a weight is ``w = 1 / (m^2 + c^2)`` over the row's sum, and the slope of
    ``log w`` in z is ``2 c^2 w / z``; a key held at the edge of what is heard has none.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z_BHTS: Tensor, start: int, reached: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights, and each weight times the slope of its logarithm."""
        z_BHTS = z_BHTS.tril(start) if reached is None else z_BHTS.masked_fill(~reached, 0.0)
        size = z_BHTS.abs()
        best = size.amax(-1, keepdim=True).clamp(TINY, 1.0)
        least = best.sqrt() * FAINT
        part = (best / size.clamp_min(least)).square()
        squashed = (part + best.square()).reciprocal()
        grad = (2 * part * squashed / z_BHTS).where(size >= least, 0.0)
        weights = squashed.tril(start) if reached is None else squashed.masked_fill(~reached, 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
        return weights, grad * weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep both for the way back; the second answers to nobody."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        """As of any softmax: less the row's mean, which the sum takes back."""
        weights, grad = ctx.saved_tensors
        return (given - (given * weights).sum(-1, keepdim=True)) * grad, None, None


def log_squash(z_BHTS: Tensor, start: int = 0) -> Tensor:
    """``log(z^2 / (1 + z^2))`` of each row, shifted so that float32 keeps every digit of the weights.

    A row whose best key has ``|z| = m < 1`` is shifted by ``-2 log m``: without it logarithms near -90 would carry
    the rounding error of their size into the weights. With ``c = m / |z|`` this is ``-log(m^2 + c^2)``, one division
    and one logarithm. Its argument is at least 1 for every key not after the query; the others, which no one hears,
    are held there too, or their infinities would reach the gradient. Finite forward and backward for every finite z;
    a row of zeros becomes uniform.
    """
    strength = z_BHTS.abs()
    best = strength.detach().tril(start).amax(-1, keepdim=True).clamp(TINY, 1.0)
    weakness = best / strength.clamp_min(best.sqrt() * FAINT)
    return -torch.log((best.square() + weakness.square()).clamp_min(1.0))
