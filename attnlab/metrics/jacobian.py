"""How much of a gradient softmax lets through: norms of its Jacobian, each named.

    J = diag(p) - p p^T                              of one row,  s2 = sum p^2,  s3 = sum p^3
    sum |J|  = 2 (1 - s2)                            largest where p is uniform: 2 (1 - 1/n)
    trace J  = 1 - s2                                largest where p is uniform: 1 - 1/n
    ||J||_F^2 = s2 - 2 s3 + s2^2                     sqrt(n - 1) / n at uniform: NOT the largest from n = 3
    ||J||_2                                          1 / n at uniform: NOT the largest from n = 3

Whether collapsed, uniform attention has the largest gradient depends on the norm: p = (1/2, 1/2, 0, ..) has
``||J||_F = ||J||_2 = 1/2`` for every n. Each norm is a metric of its own, so that none is quoted without its name.

Source   arXiv:2410.15578 claims the maximum at uniform; which norm it means is not known to us. The closed forms are
         ours. One less the trace is the inverse participation ratio of arXiv:2505.24333.
Differs  the closed forms hold for softmax alone. Where the matrix is not the softmax of the scores, the metrics are
         nan and :func:`of_map` differentiates the mechanism's own map.

Letters  B batch, H heads, T queries, S keys, R keys again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.metrics.attention_patterns import choosing
from attnlab.metrics.metric import Point, metric

CLAIM = "arXiv:2410.15578 for the question; the closed form is ours"
TIGHT = 1e-4
"""How far weights may be from the softmax of their scores, in float32, and still be one."""


@metric(
    "jacobian-l1",
    formula="mean of sum |J_jk| = 2 (1 - sum p^2) over i >= 1,  J = diag(p) - p p^T",
    source=CLAIM,
    point=Point.MATRIX,
    collapse="largest, 2 (1 - 1/n), for equal shares; near 0 attention has hardened and passes no gradient on",
)
def jacobian_l1(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The entrywise L1 norm of softmax's Jacobian."""
    return _softmax_only(choosing(2 * (1 - _moment(weights_BHTS, 2))), weights_BHTS, scores_BHTS)


@metric(
    "jacobian-trace",
    formula="mean of trace J = 1 - sum p^2 over i >= 1, also its nuclear norm,  J = diag(p) - p p^T",
    source=CLAIM,
    point=Point.MATRIX,
    collapse="largest, 1 - 1/n, for equal shares; near 0 attention has hardened and passes no gradient on",
)
def jacobian_trace(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The trace of softmax's Jacobian."""
    return _softmax_only(choosing(1 - _moment(weights_BHTS, 2)), weights_BHTS, scores_BHTS)


@metric(
    "jacobian-frobenius",
    formula="mean of ||J||_F = sqrt(sum p^2 - 2 sum p^3 + (sum p^2)^2) over i >= 1",
    source=CLAIM,
    point=Point.MATRIX,
    collapse="near 0 for equal shares over many keys AND where attention has hardened; largest with two rival keys",
)
def jacobian_frobenius(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The Frobenius norm of softmax's Jacobian."""
    square_BHT, cube_BHT = _moment(weights_BHTS, 2), _moment(weights_BHTS, 3)
    # The difference of a hardened row is zero up to rounding, on either side.
    norm_BHT = (square_BHT - 2 * cube_BHT + square_BHT.square()).clamp_min(0).sqrt()
    return _softmax_only(choosing(norm_BHT), weights_BHTS, scores_BHTS)


@metric(
    "jacobian-spectral",
    formula="mean of the largest eigenvalue of diag(p) - p p^T over i >= 1",
    source=CLAIM,
    point=Point.MATRIX,
    collapse="near 0 for equal shares over many keys AND where attention has hardened; largest with two rival keys",
)
def jacobian_spectral(weights_BHTS: Tensor, scores_BHTS: Tensor | None = None) -> Tensor:
    """The spectral norm of softmax's Jacobian."""
    return _softmax_only(choosing(largest(weights_BHTS)), weights_BHTS, scores_BHTS)


def largest(weights_BHTS: Tensor, rounds: int = 64) -> Tensor:
    """The largest eigenvalue of ``diag(p) - p p^T`` of each row, by bisection; no matrix is formed.

    It is the largest root of the secular equation ``sum_j p_j^2 / (p_j - z) = 1``, which lies between the second
    largest and the largest p: there the left side rises from minus to plus infinity.
    """
    top_BHT2 = weights_BHTS.topk(min(2, weights_BHTS.shape[-1]), dim=-1).values
    high_BHT1, low_BHT1 = top_BHT2[..., :1], top_BHT2[..., -1:]
    for _ in range(rounds):
        middle_BHT1 = (low_BHT1 + high_BHT1) / 2
        gap_BHTS = weights_BHTS - middle_BHT1
        gap_BHTS = torch.where(gap_BHTS == 0, torch.finfo(gap_BHTS.dtype).tiny, gap_BHTS)
        above_BHT1 = (weights_BHTS.square() / gap_BHTS).sum(-1, keepdim=True) < 1
        low_BHT1 = torch.where(above_BHT1, middle_BHT1, low_BHT1)
        high_BHT1 = torch.where(above_BHT1, high_BHT1, middle_BHT1)
    return low_BHT1.squeeze(-1)


def of_map(weights_of: Callable[[Tensor], Tensor], scores_BHTS: Tensor) -> Tensor:
    """The Jacobian of each row of any map from scores to weights, B x H x T x S x R: by autograd, key by key.

    Args:
        weights_of: The mechanism's own map; row i of the weights depends on row i of the scores alone.
        scores_BHTS: Where to differentiate.
    """
    scores = scores_BHTS.detach().requires_grad_()
    weights_BHTS = weights_of(scores)
    rows = [
        torch.autograd.grad(weights_BHTS[..., key].sum(), scores, retain_graph=True)[0]
        for key in range(weights_BHTS.shape[-1])
    ]
    return torch.stack(rows, dim=-2)


def norms(jacobian_BHTSR: Tensor) -> dict[str, Tensor]:
    """Every norm of Jacobians that were formed, by its name, B x H: the mean over the rows but the first."""
    return {
        "l1": choosing(jacobian_BHTSR.abs().sum((-2, -1))),
        "trace": choosing(jacobian_BHTSR.diagonal(dim1=-2, dim2=-1).sum(-1)),
        "frobenius": choosing(jacobian_BHTSR.square().sum((-2, -1)).sqrt()),
        "spectral": choosing(torch.linalg.matrix_norm(jacobian_BHTSR, 2)),
    }


def softmax_of(scores_BHTS: Tensor, weights_BHTS: Tensor) -> bool:
    """Whether weights are the softmax of their scores over the keys they attend to."""
    if scores_BHTS.shape != weights_BHTS.shape or bool((weights_BHTS < 0).any()):
        return False
    seen_BHTS = weights_BHTS > 0
    expected = scores_BHTS.masked_fill(~seen_BHTS, -torch.inf).softmax(-1)
    return bool(((expected.nan_to_num() - weights_BHTS).abs() <= TIGHT).all())


def _moment(weights_BHTS: Tensor, power: int) -> Tensor:
    return weights_BHTS.pow(power).sum(-1)


def _softmax_only(values_BH: Tensor, weights_BHTS: Tensor, scores_BHTS: Tensor | None) -> Tensor:
    """The values, or nan where the weights are known not to be a softmax."""
    known = scores_BHTS is None or softmax_of(scores_BHTS, weights_BHTS)
    return values_BH if known else values_BH.new_full(values_BH.shape, math.nan)
