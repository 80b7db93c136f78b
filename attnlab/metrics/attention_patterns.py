"""Metrics of an effective attention matrix: entropy, sinks, distances, signs.

    p_ij = |w_ij| / sum_j |w_ij|          where a probability is needed; a row of zeros stays zeros
    H_i  = -sum_j p_ij log p_ij           at most log n_i, with n_i = i + 1 keys not after query i

For rows that are non-negative and sum to one, p is w. For signed, free and substochastic rows p is a normalization of
w, and ``row-sum``, ``row-gain`` and ``negative-mass`` are reported beside it. A row of zeros has entropy 0 and a row
gain of 0. The first row has one key only, so the mean leaves it out wherever the formula has i >= 1.

Source   entropy: Zhai et al., arXiv:2303.06296; sinks: Gu et al., "When attention sink emerges in language models",
         arXiv:2410.10781, and its code (eps 0.3); singular gap: Nait Saada et al., "Mind the gap", arXiv:2410.07799.
Differs  rows are causal: log n_i and i, never log T and T.

Letters  B batch, H heads, T queries, S keys. Queries and keys are counted from 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnlab.metrics._rows import (
    PROBABILITY,
    mean_after_first,
    probabilities,
    query_and_key_positions,
    row_entropies,
    safe_divide,
)
from attnlab.metrics._singular import singular_values
from attnlab.metrics.metric import Point, metric

SINK_THRESHOLD = 0.3
"""Share of the attention from which the first token counts as a sink."""


@metric(
    "entropy",
    formula=f"mean of H_i / log(i + 1) over i >= 1,  H_i = -sum_j p_ij log p_ij,  {PROBABILITY}",
    source="arXiv:2303.06296",
    point=Point.MATRIX,
    collapse="near 1 attention is uniform, the state of rank collapse; near 0 it has saturated, entropy collapse",
)
def entropy(weights_BHTS: Tensor) -> Tensor:
    """The entropy of a row relative to that of uniform attention.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    rows_T = query_and_key_positions(weights_BHTS)[0].flatten().to(weights_BHTS.dtype)
    return mean_after_first(row_entropies(weights_BHTS) / (rows_T + 1).log().clamp_min(1e-300))


@metric(
    "entropy-nats",
    formula=f"mean of H_i over all i,  H_i = -sum_j p_ij log p_ij,  {PROBABILITY}",
    source="arXiv:2303.06296",
    point=Point.MATRIX,
    collapse="a sharp fall along training comes before spikes of the loss",
)
def entropy_nats(weights_BHTS: Tensor) -> Tensor:
    """The entropy of a row in nats; uniform attention has log(T!) / T.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return row_entropies(weights_BHTS).mean(-1)


@metric(
    "sink",
    formula=f"mean of p_i0 over all i,  {PROBABILITY}",
    source="arXiv:2410.10781",
    point=Point.MATRIX,
    collapse="near 1 all rows attend to the first token; uniform attention gives H_T / T, 0.0741 at T = 64",
)
def sink(weights_BHTS: Tensor) -> Tensor:
    """The share of the attention that goes to the first token.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return probabilities(weights_BHTS)[..., 0].mean(-1)


@metric(
    "sink-rate",
    formula="share of heads and sequences with a sink above 0.3",
    source="arXiv:2410.10781",
    point=Point.MATRIX,
    collapse="near 1 most heads attend to the first token",
)
def sink_rate(weights_BHTS: Tensor) -> Tensor:
    """The share of heads that attend to the first token.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return (sink(weights_BHTS) > SINK_THRESHOLD).double()


@metric(
    "distance",
    formula=f"mean of sum_j p_ij (i - j) / i over i >= 1,  {PROBABILITY}",
    source="ours",
    point=Point.MATRIX,
    collapse="0.5 for uniform attention; 0 each token attends to itself; 1 all attend to the first",
)
def distance(weights_BHTS: Tensor) -> Tensor:
    """The mean distance from a query to the keys it attends to, relative to the longest possible.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    rows_T1, keys_S = query_and_key_positions(weights_BHTS)
    far_TS = (rows_T1 - keys_S).clamp_min(0).to(weights_BHTS.dtype) / rows_T1.clamp_min(1)
    return mean_after_first((probabilities(weights_BHTS) * far_TS).sum(-1))


@metric(
    "diversity",
    formula=f"mean of 1 - cos(p_i of one head, p_i of another) over i >= 1 and pairs of heads,  {PROBABILITY}",
    source="arXiv:2203.05962, which compares whole maps",
    point=Point.MATRIX,
    collapse="near 0 all heads attend alike; nan with one head",
)
def diversity(weights_BHTS: Tensor) -> Tensor:
    """The difference between the attention of two heads; one number per sequence.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence, B.
    """
    heads = weights_BHTS.shape[-3]
    probabilities_BHTS = probabilities(weights_BHTS)
    unit_BHTS = safe_divide(probabilities_BHTS, probabilities_BHTS.square().sum(-1, keepdim=True).sqrt())
    if heads < 2:
        return weights_BHTS.new_full(weights_BHTS.shape[:-3], math.nan)
    pairs_BT = unit_BHTS.sum(-3).square().sum(-1) - unit_BHTS.square().sum((-3, -1))
    return mean_after_first(1 - pairs_BT / (heads * (heads - 1)))


@metric(
    "negative-mass",
    formula="mean over rows of sum_j max(-w_ij, 0) / sum_j |w_ij|",
    source="arXiv:2410.15578 for why; the number is ours",
    point=Point.MATRIX,
    collapse="0 for softmax; a signed mechanism at 0 has stopped using its sign",
)
def negative_mass(weights_BHTS: Tensor) -> Tensor:
    """The share of the attention that is negative.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return safe_divide(weights_BHTS.clamp_max(0).abs().sum(-1), weights_BHTS.abs().sum(-1)).mean(-1)


@metric(
    "row-gain",
    formula="mean over rows of sum_j |w_ij|",
    source="ours",
    point=Point.MATRIX,
    collapse="1 for softmax; 0 where rows are all zero and the attention outputs zero",
)
def row_gain(weights_BHTS: Tensor) -> Tensor:
    """The sum of the absolute weights of a row.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return weights_BHTS.abs().sum(-1).mean(-1)


@metric(
    "row-sum",
    formula="mean over rows of sum_j w_ij",
    source="ours",
    point=Point.MATRIX,
    collapse="with a constant sum in every row, collapsed tokens stay collapsed, whatever the weights",
)
def row_sum(weights_BHTS: Tensor) -> Tensor:
    """The sum of the weights of a row.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return weights_BHTS.sum(-1).mean(-1)


@metric(
    "peak",
    formula="mean over i >= 1 of max_j |w_ij|",
    source="arXiv:2308.16898 reads the most probable key as the selected token",
    point=Point.MATRIX,
    collapse="near 1, for softmax, each row has selected one token and its gradient is near 0",
)
def peak(weights_BHTS: Tensor) -> Tensor:
    """The largest absolute weight of a row.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return mean_after_first(weights_BHTS.abs().amax(-1))


@metric(
    "saturation",
    formula=f"share of rows i >= 1 with max_j p_ij > 0.999,  {PROBABILITY}",
    source="arXiv:2308.16898",
    point=Point.MATRIX,
    collapse="near 1 attention has saturated: the scores get no gradient",
)
def saturation(weights_BHTS: Tensor) -> Tensor:
    """The share of rows that attend to one token only.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return mean_after_first((probabilities(weights_BHTS).amax(-1) > 0.999).to(weights_BHTS.dtype))


@metric(
    "singular-gap",
    formula="s_1 / s_2 of the matrix",
    source="arXiv:2410.07799",
    point=Point.MATRIX,
    collapse="grows: one direction dominates the others; uniform attention has a gap too",
    mean="geometric",
)
def singular_gap(weights_BHTS: Tensor) -> Tensor:
    """The ratio of the two largest singular values of the matrix; 1 for a matrix of zeros.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    if min(weights_BHTS.shape[-2:]) < 2:
        return weights_BHTS.new_full(weights_BHTS.shape[:-2], math.nan)
    first_BH, second_BH = singular_values(weights_BHTS)[..., :2].unbind(-1)
    least_BH = first_BH * torch.finfo(torch.float64).eps + 1e-300
    return first_BH.clamp_min(1e-300) / second_BH.maximum(least_BH)
