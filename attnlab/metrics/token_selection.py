"""Which tokens a head selects, by what margin, and whether its weights point where a support vector machine would.

    opt_i = argmax_j A_ij                                        the token that row i selects
    m_i   = s_i,opt - max over the other visible keys            its margin
    W     = W_K^T W_Q / sqrt(C)                                  D x D, of one head: s_ij = x_j^T W x_i
    W_mm  = argmin ||W||_F  with  (x_opt - x_t)^T W x_i >= 1     for every other visible t, every row i

W_mm is found through the least point of the hull of the columns ``c = vec((x_opt - x_t) x_i^T)``, by non-negative
least squares: with delta its distance from zero, the best margin that any W of norm 1 has, ``W_mm = w / delta^2``.
Delta of zero means that no W selects these tokens.

Source   Tarzanagh et al., "Transformers as support vector machines", arXiv:2308.16898: under gradient descent on one
         layer with a decreasing loss, W grows without bound and turns towards W_mm.
Theirs   z -> our x_i, the query's token;  alpha -> opt.
Differs  the Frobenius version alone; trained factors W_Q, W_K would ask for the nuclear norm. AdamW, decay, norms and
         depth all break the premise: a description, not a test. A rotary position makes W depend on the distance:
         of it only selection and margin mean anything. With D^2 columns or fewer, separability says little.

Letters  B batch, H heads, T queries, S keys, D width, C channels per head, N columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlab.metrics.attention_patterns import peak, places, saturation
from attnlab.metrics.metric import Point, metric

Floats = NDArray[np.float64]
SEPARABLE = 1e-6
"""Least best margin, relative to the longest column, from which tokens count as separable."""


@dataclass(frozen=True)
class Alignment:
    """Weights of a head beside the machine that selects the same tokens."""

    correlation: float
    """Cosine of W and W_mm; nan where the tokens are not separable."""
    margin: float
    """Least of <W, c> / ||W||_F over the columns: negative where a token is not the one of the largest score."""
    best: float
    """Delta, the largest that margin can be."""
    separable: bool
    columns: int
    """N, constraints that were used."""
    trivial: bool
    """Whether there are no more columns than numbers in W, so that separability says little."""


@dataclass(frozen=True)
class Choice:
    """What one head selects, and how its weights stand to it."""

    head: int
    peak: float
    """Mean of the largest weight of a row."""
    saturated: float
    """Share of rows whose largest weight is above 0.999."""
    margin: float
    """Median over rows of the margin of scores."""
    least: float
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
    """None where W says nothing of the scores, as under a rotary position."""


@metric(
    "score-margin",
    formula="median over i >= 1 of s_i,opt - max_j s_ij,  opt = argmax_j A_ij, j visible and not opt",
    source="arXiv:2308.16898",
    point=Point.SCORES,
    collapse="grows as attention hardens; past about 12 in float32 the gradient at the scores is rounding",
)
def score_margin(scores_BHTS: Tensor, weights_BHTS: Tensor) -> Tensor:
    """By how much the selected token outscores the next."""
    return margins(scores_BHTS, weights_BHTS).nanmedian(-1).values


def margins(scores_BHTS: Tensor, weights_BHTS: Tensor) -> Tensor:
    """The margin of each row, ... x T; nan where a row sees a single key, or the scores are not one per weight."""
    if scores_BHTS.shape != weights_BHTS.shape:
        return scores_BHTS.new_full(scores_BHTS.shape[:-1], math.nan).flatten(1, -2)
    rows_T1, keys_S = places(weights_BHTS)
    seen = (keys_S <= rows_T1) & (weights_BHTS != 0)
    best = weights_BHTS.masked_fill(~seen, -torch.inf).argmax(-1, keepdim=True)
    others = scores_BHTS.masked_fill(~seen, -torch.inf).scatter(-1, best, -torch.inf).amax(-1)
    margin = scores_BHTS.gather(-1, best).squeeze(-1) - others
    return margin.masked_fill(~margin.isfinite(), math.nan)


def bilinear(query_DD: Tensor, key_DD: Tensor, heads: int) -> Tensor:
    """W of each head, H x D x D, from the weights of the query and key maps, ``H C x D``; shared keys are repeated."""
    query_HCD = query_DD.detach().double().unflatten(0, (heads, -1))
    key_GCD = key_DD.detach().double().unflatten(0, (-1, query_HCD.shape[1]))
    key_HCD = key_GCD.repeat_interleave(heads // len(key_GCD), dim=0)
    return key_HCD.mT @ query_HCD / math.sqrt(query_HCD.shape[1])


def chosen(
    inputs_BTD: Tensor,
    scores_BHTS: Tensor,
    weights_BHTS: Tensor,
    query_DD: Tensor,
    key_DD: Tensor,
    *,
    bare: bool = True,
    columns: int = 400,
) -> tuple[Choice, ...]:
    """What each head of a layer selects.

    Args:
        inputs_BTD: What the attention reads: the stream, after the norm where one stands before it.
        scores_BHTS: Its scores.
        weights_BHTS: Its effective matrix.
        query_DD: Weight of its query map.
        key_DD: Weight of its key map.
        bare: Whether the scores are ``x_j^T W x_i`` and nothing else turns them; alignment is left out otherwise.
        columns: Constraints to use at most, spread evenly over the rows.
    """
    heads = weights_BHTS.shape[-3]
    margins_BHT = margins(scores_BHTS.detach().double(), weights_BHTS.detach().double())
    answers = []
    for head, matrix_DD in enumerate(bilinear(query_DD, key_DD, heads)):
        mine_B1TS = weights_BHTS[:, head : head + 1].detach().double()
        values = torch.linalg.svdvals(matrix_DD)
        mine = margins_BHT[:, head]
        saved = mine[~mine.isnan()]
        aligned = alignment(inputs_BTD, mine_B1TS[:, 0], matrix_DD, columns=columns) if bare else None
        answers.append(
            Choice(
                head=head,
                peak=float(peak(mine_B1TS).mean()),
                saturated=float(saturation(mine_B1TS).mean()),
                margin=float(saved.median()) if saved.numel() else math.nan,
                least=float(saved.min()) if saved.numel() else math.nan,
                norm=float(values.square().sum().sqrt()),
                nuclear=float(values.sum()),
                stable_rank=float(values.square().sum() / values[0].square()),
                gap=float(values[0] / values[1]) if len(values) > 1 else math.nan,
                alignment=aligned,
            )
        )
    return tuple(answers)


def alignment(inputs_BTD: Tensor, weights_BTS: Tensor, matrix_DD: Tensor, *, columns: int = 400) -> Alignment | None:
    """How the weights of one head stand to the machine that selects the same tokens; None without a constraint."""
    differences_ND, queries_ND = constraints(inputs_BTD.detach().double(), weights_BTS.detach().double())
    if not len(differences_ND):
        return None
    saved = torch.linspace(0, len(differences_ND) - 1, min(columns, len(differences_ND))).round().long()
    differences_ND, queries_ND = differences_ND[saved], queries_ND[saved]
    machine_DD, best = machine(differences_ND, queries_ND)
    matrix_DD = matrix_DD.detach().double()
    reached_N = torch.einsum("nd,de,ne->n", differences_ND, matrix_DD, queries_ND)
    longest = float((differences_ND.norm(dim=-1) * queries_ND.norm(dim=-1)).max())
    separable = best > SEPARABLE * longest
    norm = float(matrix_DD.norm())
    cosine = float((matrix_DD * machine_DD).sum() / (norm * machine_DD.norm())) if separable and norm else math.nan
    return Alignment(
        correlation=cosine,
        margin=float(reached_N.min()) / norm if norm else math.nan,
        best=best if separable else 0.0,
        separable=separable,
        columns=len(saved),
        trivial=len(saved) <= matrix_DD.numel(),
    )


def constraints(inputs_BTD: Tensor, weights_BTS: Tensor) -> tuple[Tensor, Tensor]:
    """``x_opt - x_t`` and ``x_i`` of every row with a single selected token and every other key it may see, N x D.

    Equal tokens are no constraint: nothing tells them apart.
    """
    rows_T1, keys_S = places(weights_BTS)
    visible_BTS = ((keys_S <= rows_T1) & (weights_BTS != 0)).expand_as(weights_BTS)
    best_BT1 = weights_BTS.argmax(-1, keepdim=True)
    unique_BT1 = (weights_BTS == weights_BTS.gather(-1, best_BT1)).sum(-1, keepdim=True) == 1
    other_BTS = visible_BTS & unique_BT1 & (keys_S != best_BT1)
    batch, row, key = other_BTS.nonzero(as_tuple=True)
    chosen_ND = inputs_BTD[batch, best_BT1[batch, row, 0]]
    differences_ND = chosen_ND - inputs_BTD[batch, key]
    told = differences_ND.abs().amax(-1) > 0
    return differences_ND[told], inputs_BTD[batch, row][told]


def machine(differences_ND: Tensor, queries_ND: Tensor) -> tuple[Tensor, float]:
    """W_mm and delta of some constraints; zeros where they cannot all be met."""
    from scipy.optimize import nnls

    columns: Floats = torch.einsum("nd,ne->nde", differences_ND, queries_ND).flatten(1).T.numpy()
    # Only the columns' inner products matter, so a triangle of N rows stands for all D^2; unit scale keeps the last
    # row, which makes the shares sum to one, in balance with the rest.
    scale = float(np.linalg.norm(columns, axis=0).max())
    triangle: Floats = np.linalg.qr(columns / scale).R
    positions = np.zeros(len(triangle) + 1)
    positions[-1] = 1.0
    shares, _ = nnls(np.vstack([triangle, np.ones(columns.shape[1])]), positions, maxiter=30 * columns.shape[1])
    nearest = columns @ (shares / shares.sum())
    delta = float(np.linalg.norm(nearest))
    machine_DD = torch.from_numpy(nearest / delta**2 if delta else nearest).reshape(
        differences_ND.shape[-1], queries_ND.shape[-1]
    )
    return machine_DD, delta
