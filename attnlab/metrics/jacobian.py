"""Norms of the Jacobian of softmax: how much gradient softmax passes on.

    J = diag(p) - p p^T                              of one row,  s2 = sum p^2,  s3 = sum p^3
    sum |J|  = 2 (1 - s2)                            largest where p is uniform: 2 (1 - 1/n)
    trace J  = 1 - s2                                largest where p is uniform: 1 - 1/n
    ||J||_F^2 = s2 - 2 s3 + s2^2                     sqrt(n - 1) / n at uniform: NOT the largest from n = 3
    ||J||_2                                          1 / n at uniform: NOT the largest from n = 3

Whether collapsed, uniform attention has the largest gradient depends on the norm: p = (1/2, 1/2, 0, ..) has
``||J||_F = ||J||_2 = 1/2`` for every n. Each norm is a metric of its own, so that every number names its norm.

Source   arXiv:2410.15578 claims the maximum at uniform; which norm it means is not known to us. The closed forms are
         ours. One less the trace is the inverse participation ratio of arXiv:2505.24333.
Differs  the closed forms hold for softmax alone. Where the matrix is not the softmax of the scores, the metrics are
         nan and :func:`row_jacobians` differentiates the mechanism's own map.

Letters  B batch, H heads, T queries, S keys, R keys again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.metrics._rows import mean_after_first
from attnlab.metrics.metric import Point, metric

SOURCE = "arXiv:2410.15578 for the question; the closed form is ours"
SOFTMAX_TOLERANCE = 1e-4
"""Largest difference, in float32, between weights and the softmax of their scores that counts as rounding error."""


@metric(
    "jacobian-l1",
    formula="mean of sum |J_jk| = 2 (1 - sum p^2) over i >= 1,  J = diag(p) - p p^T",
    source=SOURCE,
    point=Point.MATRIX,
    collapse="largest, 2 (1 - 1/n), for uniform attention; near 0 attention has saturated and passes no gradient on",
)
def jacobian_l1(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The entrywise L1 norm of softmax's Jacobian.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.
        scores_BHTS: The scores of the layer, B x H x T x S; None trusts the weights to be a softmax.

    Returns:
        One number per sequence and head, B x H.
    """
    return _softmax_only(mean_after_first(2 * (1 - _moment(weights_BHTS, 2))), weights_BHTS, scores_BHTS)


@metric(
    "jacobian-trace",
    formula="mean of trace J = 1 - sum p^2 over i >= 1, also its nuclear norm,  J = diag(p) - p p^T",
    source=SOURCE,
    point=Point.MATRIX,
    collapse="largest, 1 - 1/n, for uniform attention; near 0 attention has saturated and passes no gradient on",
)
def jacobian_trace(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The trace of softmax's Jacobian.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.
        scores_BHTS: The scores of the layer, B x H x T x S; None trusts the weights to be a softmax.

    Returns:
        One number per sequence and head, B x H.
    """
    return _softmax_only(mean_after_first(1 - _moment(weights_BHTS, 2)), weights_BHTS, scores_BHTS)


@metric(
    "jacobian-frobenius",
    formula="mean of ||J||_F = sqrt(sum p^2 - 2 sum p^3 + (sum p^2)^2) over i >= 1",
    source=SOURCE,
    point=Point.MATRIX,
    collapse="near 0 for uniform attention over many keys AND for saturated attention; largest with two equal keys",
)
def jacobian_frobenius(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The Frobenius norm of softmax's Jacobian.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.
        scores_BHTS: The scores of the layer, B x H x T x S; None trusts the weights to be a softmax.

    Returns:
        One number per sequence and head, B x H.
    """
    square_BHT, cube_BHT = _moment(weights_BHTS, 2), _moment(weights_BHTS, 3)
    # The difference of a saturated row is zero up to rounding error, of either sign.
    norm_BHT = (square_BHT - 2 * cube_BHT + square_BHT.square()).clamp_min(0).sqrt()
    return _softmax_only(mean_after_first(norm_BHT), weights_BHTS, scores_BHTS)


@metric(
    "jacobian-spectral",
    formula="mean of the largest eigenvalue of diag(p) - p p^T over i >= 1",
    source=SOURCE,
    point=Point.MATRIX,
    collapse="near 0 for uniform attention over many keys AND for saturated attention; largest with two equal keys",
)
def jacobian_spectral(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The spectral norm of softmax's Jacobian.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.
        scores_BHTS: The scores of the layer, B x H x T x S; None trusts the weights to be a softmax.

    Returns:
        One number per sequence and head, B x H.
    """
    return _softmax_only(mean_after_first(largest_eigenvalue(weights_BHTS)), weights_BHTS, scores_BHTS)


def largest_eigenvalue(weights_BHTS: Tensor, iterations: int = 64) -> Tensor:
    """Compute the largest eigenvalue of ``diag(p) - p p^T`` of each row, by bisection, without forming a matrix.

    It is the largest root of the secular equation ``sum_j p_j^2 / (p_j - z) = 1``, which lies between the second
    largest and the largest p: there the left side rises from minus to plus infinity.

    Args:
        weights_BHTS: Rows of probabilities, ... x S.
        iterations: Halvings of the interval.

    Returns:
        One eigenvalue per row.
    """
    top_BHT2 = weights_BHTS.topk(min(2, weights_BHTS.shape[-1]), dim=-1).values
    high_BHT1, low_BHT1 = top_BHT2[..., :1], top_BHT2[..., -1:]
    for _ in range(iterations):
        middle_BHT1 = (low_BHT1 + high_BHT1) / 2
        gap_BHTS = weights_BHTS - middle_BHT1
        gap_BHTS = torch.where(gap_BHTS == 0, torch.finfo(gap_BHTS.dtype).tiny, gap_BHTS)
        root_above_BHT1 = (weights_BHTS.square() / gap_BHTS).sum(-1, keepdim=True) < 1
        low_BHT1 = torch.where(root_above_BHT1, middle_BHT1, low_BHT1)
        high_BHT1 = torch.where(root_above_BHT1, high_BHT1, middle_BHT1)
    return low_BHT1.squeeze(-1)


def row_jacobians(weights_of: Callable[[Tensor], Tensor], scores_BHTS: Tensor) -> Tensor:
    """Differentiate each row of any map from scores to weights, by autograd, key by key.

    Args:
        weights_of: The mechanism's own map; row i of the weights depends on row i of the scores alone.
        scores_BHTS: The scores at which to differentiate.

    Returns:
        The Jacobian of each row, B x H x T x S x R.
    """
    scores = scores_BHTS.detach().requires_grad_()
    weights_BHTS = weights_of(scores)
    rows = [
        torch.autograd.grad(weights_BHTS[..., key].sum(), scores, retain_graph=True)[0]
        for key in range(weights_BHTS.shape[-1])
    ]
    return torch.stack(rows, dim=-2)


def jacobian_norms(jacobian_BHTSR: Tensor) -> dict[str, Tensor]:
    """Compute every norm of explicit Jacobians.

    Args:
        jacobian_BHTSR: The Jacobian of each row, as :func:`row_jacobians` returns it.

    Returns:
        By the name of the norm, the mean over all rows but the first, B x H.
    """
    return {
        "l1": mean_after_first(jacobian_BHTSR.abs().sum((-2, -1))),
        "trace": mean_after_first(jacobian_BHTSR.diagonal(dim1=-2, dim2=-1).sum(-1)),
        "frobenius": mean_after_first(jacobian_BHTSR.square().sum((-2, -1)).sqrt()),
        "spectral": mean_after_first(torch.linalg.matrix_norm(jacobian_BHTSR, 2)),
    }


def is_softmax_of(scores_BHTS: Tensor, weights_BHTS: Tensor) -> bool:
    """Tell whether weights are the softmax of their scores over the keys they attend to.

    Args:
        scores_BHTS: The scores of a layer.
        weights_BHTS: Its effective matrix.

    Returns:
        True if they agree within the tolerance.
    """
    if scores_BHTS.shape != weights_BHTS.shape or bool((weights_BHTS < 0).any()):
        return False
    attended_BHTS = weights_BHTS > 0
    expected = scores_BHTS.masked_fill(~attended_BHTS, -torch.inf).softmax(-1)
    return bool(((expected.nan_to_num() - weights_BHTS).abs() <= SOFTMAX_TOLERANCE).all())


def _moment(weights_BHTS: Tensor, power: int) -> Tensor:
    """Sum a power of the weights of each row."""
    return weights_BHTS.pow(power).sum(-1)


def _softmax_only(values_BH: Tensor, weights_BHTS: Tensor, scores_BHTS: Tensor | None) -> Tensor:
    """Keep the values of a softmax; nan where the weights are not the softmax of the scores."""
    is_softmax = scores_BHTS is None or is_softmax_of(scores_BHTS, weights_BHTS)
    return values_BH if is_softmax else values_BH.new_full(values_BH.shape, math.nan)
