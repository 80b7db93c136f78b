"""Expressive attention: parallel and antiparallel keys have weight, orthogonal keys have none.

    A_ij = f(z_ij) b_ij / sum_{k <= i} f(z_ik) b_ik
    f(z) = z^2 / (1 + z^2),   z_ij = scale * q_i.k_j

with ``b`` the exponential of the position's bias, if there is one. This equals a softmax over ``log f(z) + log b``,
which is how it is computed.

Source   Gros, "Reorganizing attention-space geometry with expressive attention", arXiv:2407.18601. That it builds
         on the squared dot product is the abstract's; the squash and the plain row normalization are known from
         third parties only. No public code was found (November 2026).
Theirs   z_mk = Q_m.K_k -> our z_ij;  N_m -> our row sum.
Differs  the scores are scaled by 1/sqrt(C) unless ``scale`` says otherwise (the known form is unscaled: scale 1);
         a position multiplies f, after the squaring, since a bias on z would lose its sign.

Letters  B batch, H heads, T queries, P query positions per row, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.ops.rational import rational_sums
from attnlab.differentiation import differentiable_once
from attnlab.tensors import QKV, LayerContext, at_least_float32, causal_mask_at, gather_tokens, with_float32

TINY = 1e-30
"""A row in which the largest |z| is below this counts as zero."""
MIN_RELATIVE = 1e-19
"""A |z| below this times the root of the largest one in its row is raised to it, with a weight below 1e-18 (if the
largest one is above 1e-20): for a smaller one float32 cannot represent the square of their ratio, or its gradient."""


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
        """``log f(z)``, up to one constant per row, which the softmax cancels."""
        return log_squash(self.products(qkv), qkv.start)

    def products(self, qkv: QKV) -> Tensor:
        """z, the scaled dot products.

        Args:
            qkv: Queries, keys and values.

        Returns:
            ... x T x S.
        """
        return qkv.queries_BHTC @ qkv.keys_BHSC.mT * self.factor(qkv)

    def factor(self, qkv: QKV) -> float:
        """The scale; where a position changes the number of channels, relative to theirs.

        Args:
            qkv: Queries, keys and values.

        Returns:
            A factor on the dot products.
        """
        return self.scale * math.sqrt(self.channels / qkv.queries_BHTC.shape[-1])

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The weights, B x H x T x S; without a bias by the rational form, three times as fast."""
        if not self.fast or self.biased:
            return super().weights(qkv, position)
        return rational(self.products(with_float32(qkv)), qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; over all queries and without a bias by tiles, on a CPU."""
        queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
        whole = qkv.start == 0 and queries.shape == keys.shape and queries.ndim == 4
        if not self.fast or self.biased or not whole or queries.device.type != "cpu":
            return super().attend(qkv, position)
        return rational_sums(queries, keys, qkv.values_BHSC, self.factor(qkv))

    @property
    def supports_query_subset(self) -> bool:
        """Whether some queries of each row can be computed alone: true without a bias."""
        return self.fast and not self.biased

    def attend_queries(self, qkv: QKV, position: Position, query_positions_BP: Tensor) -> Tensor:
        """Weighted sums of the values for some queries of each row, in chunks where no gradient is recorded."""
        chunk = query_positions_BP.shape[1] if torch.is_grad_enabled() else self.block_rows(qkv)
        if query_positions_BP.shape[1] > chunk:
            chunks = query_positions_BP.split(chunk, 1)
            return torch.cat([self.attend_queries(qkv, position, chunk_BP) for chunk_BP in chunks], dim=-2)
        queries_BHPC = at_least_float32(gather_tokens(qkv.queries_BHTC, query_positions_BP))
        z_BHPS = self.products(qkv._replace(queries_BHTC=queries_BHPC, keys_BHSC=at_least_float32(qkv.keys_BHSC)))
        weights_BHPS = rational(z_BHPS, mask=causal_mask_at(query_positions_BP, z_BHPS.shape[-1], z_BHPS.ndim))
        return weights_BHPS.to(qkv.values_BHSC.dtype) @ qkv.values_BHSC


def rational(z_BHTS: Tensor, start: int = 0, mask: Tensor | None = None) -> Tensor:
    """``f(z)`` over the sum of its row, over the allowed keys.

    Args:
        z_BHTS: Scaled products.
        start: Index of the first query among the keys; keys not after a query are allowed.
        mask: bool, broadcastable to the products: the allowed keys, in place of ``start``; None uses ``start``.

    Returns:
        Weights of the shape of the products.
    """
    weights, _ = Rational.apply(z_BHTS, start, mask)  # type: ignore[no-untyped-call]
    return weights


@final
class Rational(torch.autograd.Function):
    """``f(z)`` over the sum of its row, over the allowed keys, with its own backward.

    With m and c as in :func:`log_squash`, a weight is ``w = 1 / (m^2 + c^2)`` over the sum of the row, and the
    derivative of ``log w`` in z is ``2 c^2 w / z``; it is zero for a |z| raised to the minimum.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z_BHTS: Tensor, start: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The weights, and each weight times the derivative of its logarithm."""
        z_BHTS = z_BHTS.tril(start) if mask is None else z_BHTS.masked_fill(~mask, 0.0)
        size = z_BHTS.abs()
        largest = size.amax(-1, keepdim=True).clamp(TINY, 1.0)
        smallest = largest.sqrt() * MIN_RELATIVE
        ratio = (largest / size.clamp_min(smallest)).square()
        squashed = (ratio + largest.square()).reciprocal()
        grad = (2 * ratio * squashed / z_BHTS).where(size >= smallest, 0.0)
        weights = squashed.tril(start) if mask is None else squashed.masked_fill(~mask, 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
        return weights, grad * weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save both outputs for the backward pass; the second is not differentiable.

        Args:
            ctx: The context of the autograd function.
            inputs: The arguments of ``forward``.
            output: The results of ``forward``.
        """
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*output)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_weights: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the products, by the formula of a softmax."""
        weights, grad = ctx.saved_tensors
        return (grad_weights - (grad_weights * weights).sum(-1, keepdim=True)) * grad, None, None


def log_squash(z_BHTS: Tensor, start: int = 0) -> Tensor:
    """``log(z^2 / (1 + z^2))`` of each row, shifted so that the weights have the full precision of float32.

    A row in which the largest ``|z|`` is ``m < 1`` is shifted by ``-2 log m``: without the shift, logarithms near -90
    would carry the rounding error of their size into the weights. With ``c = m / |z|`` this is ``-log(m^2 + c^2)``, one
    division and one logarithm. Its argument is at least 1 for every key not after the query. For the other keys, which
    have no weight, it is raised to 1, or their infinities would reach the gradient. The result and its gradient are
    finite for every finite z; a row of zeros becomes uniform.

    Args:
        z_BHTS: Scaled products.
        start: Index of the first query among the keys.

    Returns:
        Scores of the shape of the products.
    """
    size = z_BHTS.abs()
    largest = size.detach().tril(start).amax(-1, keepdim=True).clamp(TINY, 1.0)
    ratio = largest / size.clamp_min(largest.sqrt() * MIN_RELATIVE)
    return -torch.log((largest.square() + ratio.square()).clamp_min(1.0))
