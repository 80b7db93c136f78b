"""Which tokens a head selects, by what margin, and whether its weights align with a support vector machine.

    opt_i = argmax_j A_ij                                        the token that row i selects
    m_i   = s_i,opt - max over the other visible keys            its margin
    W     = W_K^T W_Q / sqrt(C)                                  D x D, of one head: s_ij = x_j^T W x_i
    W_mm  = argmin ||W||_F  with  (x_opt - x_t)^T W x_i >= 1     for every other visible t, every row i

W_mm is found through the point of least norm of the convex hull of the columns ``c = vec((x_opt - x_t) x_i^T)``, by
non-negative least squares: with delta its norm, the best margin that any W of norm 1 has, ``W_mm = w / delta^2``.
Delta of zero means that no W selects these tokens.

Source   Tarzanagh et al., "Transformers as support vector machines", arXiv:2308.16898: under gradient descent on one
         layer with a decreasing loss, W grows without bound and turns towards W_mm.
Theirs   z -> our x_i, the query's token;  alpha -> opt.
Differs  the Frobenius version alone; trained factors W_Q, W_K would need the nuclear norm. AdamW, weight decay, norms
         and depth all break the premise: a description, not a test. A rotary position makes W depend on the distance:
         then only selection and margin have a meaning. With D^2 columns or fewer, separability means little.

Letters  B batch, H heads, T queries, S keys, D width, C channels per head, N columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlab.metrics._rows import query_and_key_positions
from attnlab.metrics._singular import singular_values
from attnlab.metrics.attention_patterns import peak, saturation
from attnlab.metrics.metric import Point, metric

Floats = NDArray[np.float64]
SEPARABLE = 1e-6
"""Least best margin, relative to the longest column, from which tokens count as separable."""


@dataclass(frozen=True)
class Alignment:
    """The weights of a head beside the support vector machine that selects the same tokens."""

    correlation: float
    """Cosine of W and W_mm; nan where the tokens are not separable."""
    margin: float
    """Least of <W, c> / ||W||_F over the columns: negative where a selected token does not have the largest score."""
    best: float
    """Delta, the largest that margin can be."""
    separable: bool
    """Whether any W selects these tokens."""
    columns: int
    """N, constraints that were used."""
    trivial: bool
    """Whether there are no more columns than numbers in W, so that separability means little."""


@dataclass(frozen=True)
class HeadSelection:
    """The tokens that one head selects, and the size and alignment of its weights."""

    head: int
    """From 0."""
    peak: float
    """Mean of the largest weight of a row."""
    saturation: float
    """Share of rows with a largest weight above 0.999."""
    margin: float
    """Median over rows of the margin of scores."""
    min_margin: float
    """The smallest margin."""
    norm: float
    """||W||_F, which grows without bound under the theory."""
    nuclear: float
    """Sum of the singular values of W."""
    stable_rank: float
    """||W||_F^2 / s_1^2."""
    gap: float
    """s_1 / s_2."""
    alignment: Alignment | None = None
    """None where W does not determine the scores, as under a rotary position."""


@metric(
    "score-margin",
    formula="median over i >= 1 of s_i,opt - max_j s_ij,  opt = argmax_j A_ij, j visible and not opt",
    source="arXiv:2308.16898",
    point=Point.SCORES,
    collapse="grows as attention saturates; past about 12 in float32 the gradient at the scores is rounding error",
)
def score_margin(scores_BHTS: Tensor, weights_BHTS: Tensor) -> Tensor:
    """The difference between the score of the selected token and the next.

    Args:
        scores_BHTS: The scores of the layer, before the mask, B x H x T x S.
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    return row_margins(scores_BHTS, weights_BHTS).nanmedian(-1).values


def row_margins(scores_BHTS: Tensor, weights_BHTS: Tensor) -> Tensor:
    """Compute the margin of each row.

    Args:
        scores_BHTS: The scores of a layer.
        weights_BHTS: Its effective matrix.

    Returns:
        The margins, ... x T; nan where a row has a single key, or the scores are not one per weight.
    """
    if scores_BHTS.shape != weights_BHTS.shape:
        return scores_BHTS.new_full(scores_BHTS.shape[:-1], math.nan).flatten(1, -2)
    rows_T1, keys_S = query_and_key_positions(weights_BHTS)
    attended = (keys_S <= rows_T1) & (weights_BHTS != 0)
    best = weights_BHTS.masked_fill(~attended, -torch.inf).argmax(-1, keepdim=True)
    others = scores_BHTS.masked_fill(~attended, -torch.inf).scatter(-1, best, -torch.inf).amax(-1)
    margin = scores_BHTS.gather(-1, best).squeeze(-1) - others
    return margin.masked_fill(~margin.isfinite(), math.nan)


def bilinear_forms(query_DD: Tensor, key_DD: Tensor, heads: int) -> Tensor:
    """Compute W of each head.

    Args:
        query_DD: Weight of the query projection, ``H C x D``.
        key_DD: Weight of the key projection; keys that heads share are repeated.
        heads: H.

    Returns:
        ``W_K^T W_Q / sqrt(C)``, H x D x D, in float64.
    """
    query_HCD = query_DD.detach().double().unflatten(0, (heads, -1))
    key_GCD = key_DD.detach().double().unflatten(0, (-1, query_HCD.shape[1]))
    key_HCD = key_GCD.repeat_interleave(heads // len(key_GCD), dim=0)
    return key_HCD.mT @ query_HCD / math.sqrt(query_HCD.shape[1])


def head_selections(
    inputs_BTD: Tensor,
    scores_BHTS: Tensor,
    weights_BHTS: Tensor,
    query_DD: Tensor,
    key_DD: Tensor,
    *,
    is_bilinear: bool = True,
    columns: int = 400,
) -> tuple[HeadSelection, ...]:
    """Describe the tokens that each head of a layer selects.

    Args:
        inputs_BTD: The input of the attention: the residual stream, after the norm where one stands before it.
        scores_BHTS: Its scores.
        weights_BHTS: Its effective matrix.
        query_DD: Weight of its query projection.
        key_DD: Weight of its key projection.
        is_bilinear: Whether the scores are ``x_j^T W x_i`` and nothing else; otherwise there is no alignment.
        columns: Constraints to use at most, spread evenly over the rows.

    Returns:
        One entry per head.
    """
    heads = weights_BHTS.shape[-3]
    margins_BHT = row_margins(scores_BHTS.detach().double(), weights_BHTS.detach().double())
    selections = []
    for head, matrix_DD in enumerate(bilinear_forms(query_DD, key_DD, heads)):
        head_weights_B1TS = weights_BHTS[:, head : head + 1].detach().double()
        singular = singular_values(matrix_DD)
        margins = margins_BHT[:, head]
        margins = margins[~margins.isnan()]
        aligned = alignment(inputs_BTD, head_weights_B1TS[:, 0], matrix_DD, columns=columns) if is_bilinear else None
        selections.append(
            HeadSelection(
                head=head,
                peak=float(peak(head_weights_B1TS).mean()),
                saturation=float(saturation(head_weights_B1TS).mean()),
                margin=float(margins.median()) if margins.numel() else math.nan,
                min_margin=float(margins.min()) if margins.numel() else math.nan,
                norm=float(singular.square().sum().sqrt()),
                nuclear=float(singular.sum()),
                stable_rank=float(singular.square().sum() / singular[0].square()),
                gap=float(singular[0] / singular[1]) if len(singular) > 1 else math.nan,
                alignment=aligned,
            )
        )
    return tuple(selections)


def alignment(inputs_BTD: Tensor, weights_BTS: Tensor, matrix_DD: Tensor, *, columns: int = 400) -> Alignment | None:
    """Compare the weights of one head with the support vector machine that selects the same tokens.

    Args:
        inputs_BTD: The input of the attention.
        weights_BTS: The effective matrix of the head.
        matrix_DD: W of the head.
        columns: Constraints to use at most, spread evenly over the rows.

    Returns:
        The comparison; None if there is no constraint, or something is not finite.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in (inputs_BTD, weights_BTS, matrix_DD)):
        return None
    differences_ND, queries_ND = constraints(inputs_BTD.detach().double(), weights_BTS.detach().double())
    if not len(differences_ND):
        return None
    chosen_N = torch.linspace(0, len(differences_ND) - 1, min(columns, len(differences_ND))).round().long()
    differences_ND, queries_ND = differences_ND[chosen_N], queries_ND[chosen_N]
    machine_DD, best = max_margin_matrix(differences_ND, queries_ND)
    matrix_DD = matrix_DD.detach().double()
    products_N = torch.einsum("nd,de,ne->n", differences_ND, matrix_DD, queries_ND)
    longest = float((differences_ND.norm(dim=-1) * queries_ND.norm(dim=-1)).max())
    separable = best > SEPARABLE * longest
    norm = float(matrix_DD.norm())
    cosine = float((matrix_DD * machine_DD).sum() / (norm * machine_DD.norm())) if separable and norm else math.nan
    return Alignment(
        correlation=cosine,
        margin=float(products_N.min()) / norm if norm else math.nan,
        best=best if separable else 0.0,
        separable=separable,
        columns=len(chosen_N),
        trivial=len(chosen_N) <= matrix_DD.numel(),
    )


def constraints(inputs_BTD: Tensor, weights_BTS: Tensor) -> tuple[Tensor, Tensor]:
    """List the constraints of every row with a single selected token, one for every other visible key.

    A key with a token equal to the selected one gives no constraint, because no W separates them.

    Args:
        inputs_BTD: The input of the attention.
        weights_BTS: The effective matrix of one head.

    Returns:
        ``x_opt - x_t`` and ``x_i`` of each constraint, both N x D.
    """
    rows_T1, keys_S = query_and_key_positions(weights_BTS)
    visible_BTS = ((keys_S <= rows_T1) & (weights_BTS != 0)).expand_as(weights_BTS)
    best_BT1 = weights_BTS.argmax(-1, keepdim=True)
    unique_BT1 = (weights_BTS == weights_BTS.gather(-1, best_BT1)).sum(-1, keepdim=True) == 1
    other_BTS = visible_BTS & unique_BT1 & (keys_S != best_BT1)
    batch, row, key = other_BTS.nonzero(as_tuple=True)
    selected_ND = inputs_BTD[batch, best_BT1[batch, row, 0]]
    differences_ND = selected_ND - inputs_BTD[batch, key]
    distinct_N = differences_ND.abs().amax(-1) > 0
    return differences_ND[distinct_N], inputs_BTD[batch, row][distinct_N]


def max_margin_matrix(differences_ND: Tensor, queries_ND: Tensor) -> tuple[Tensor, float]:
    """Find the smallest matrix that meets every constraint with a margin of 1.

    Args:
        differences_ND: ``x_opt - x_t`` of each constraint.
        queries_ND: ``x_i`` of each constraint.

    Returns:
        W_mm, D x D, and delta; zeros where the constraints cannot all be met.
    """
    from scipy.optimize import nnls

    columns: Floats = torch.einsum("nd,ne->nde", differences_ND, queries_ND).flatten(1).T.numpy()
    # Only the columns' inner products matter, so a triangle of N rows replaces all D^2; unit scale keeps the last
    # row, which makes the shares sum to one, in balance with the rest.
    scale = float(np.linalg.norm(columns, axis=0).max())
    triangle: Floats = np.linalg.qr(columns / scale).R
    target = np.zeros(len(triangle) + 1)
    target[-1] = 1.0
    shares, _ = nnls(np.vstack([triangle, np.ones(columns.shape[1])]), target, maxiter=30 * columns.shape[1])
    nearest = columns @ (shares / shares.sum())
    delta = float(np.linalg.norm(nearest))
    machine_DD = torch.from_numpy(nearest / delta**2 if delta else nearest).reshape(
        differences_ND.shape[-1], queries_ND.shape[-1]
    )
    return machine_DD, delta
