"""Metrics of rank collapse: residuals, cosines, ranks and frequencies of the tokens of a sequence.

    res(X) = X - 1 m^T                             m, the mean token
    ||X||_1,inf = sqrt(||X||_1 ||X||_inf)          largest column sum times largest row sum, of absolute values

With r = ||res||_F / ||X||_F and tokens of one norm, ``r^2 = (T - 1)(1 - c) / T``, c the mean cosine off the diagonal;
``||HC||_F / ||DC||_F = r / sqrt(1 - r^2)`` for all tokens. With s the singular values of X:

    1 <= stable rank <= participation ratio <= exp(entropy of s^2) <= effective rank <= min(T, D)

Source   Dong et al., "Attention is not all you need", arXiv:2103.03404 (residuals; its figures have the root in the
         composite norm); Wang et al., "Anti-oversmoothing in deep vision transformers", arXiv:2203.05962 (HC, DC);
         Guo et al., "ContraNorm", arXiv:2303.06562 (cosine, effective rank); Noci et al., arXiv:2206.03126 (cosine).
Differs  m is the mean token for every norm, though it is the nearest constant only in Frobenius; so the relative
         residual may exceed 1 in the composite norm. ``0 log 0`` is 0 in the effective rank.

Letters  B batch, T tokens, D width, K singular values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnlab.metrics._singular import singular_values
from attnlab.metrics.metric import FLOAT_FLOOR, Point, metric

DONG = "arXiv:2103.03404"
CONTRANORM = "arXiv:2303.06562"


def subtract_mean_token(x_BTD: Tensor) -> Tensor:
    """Subtract the mean token of each sequence from its tokens.

    Args:
        x_BTD: Tokens, B x T x D.

    Returns:
        ``X - 1 m^T``, B x T x D.
    """
    return x_BTD - x_BTD.mean(-2, keepdim=True)


def frobenius_norm(x_BTD: Tensor) -> Tensor:
    """Compute the Frobenius norm of each sequence.

    Args:
        x_BTD: Tokens, B x T x D.

    Returns:
        One norm per sequence, B.
    """
    return x_BTD.square().sum((-2, -1)).sqrt()


def composite_norm(x_BTD: Tensor) -> Tensor:
    """Compute ``sqrt(||X||_1 ||X||_inf)`` of each sequence.

    Args:
        x_BTD: Tokens, B x T x D.

    Returns:
        One norm per sequence, B.
    """
    sizes = x_BTD.abs()
    return (sizes.sum(-2).amax(-1) * sizes.sum(-1).amax(-1)).sqrt()


def relative_singular_values(x_BTD: Tensor) -> Tensor:
    """Compute the singular values of each sequence, divided by the largest.

    Args:
        x_BTD: Tokens, B x T x D.

    Returns:
        The values in falling order, B x K; nan where all are zero.
    """
    values_BK = singular_values(x_BTD)
    return values_BK / values_BK[..., :1]


@metric(
    "residual",
    formula="||X - 1 m^T||_F / ||X||_F,  m the mean token",
    source=DONG,
    point=Point.RESIDUAL,
    collapse="falls towards 0 from layer to layer; 0 where all tokens are equal",
    mean="geometric",
)
def residual(x_BTD: Tensor) -> Tensor:
    """The distance of the tokens from their mean, relative to their norm.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    return frobenius_norm(subtract_mean_token(x_BTD)) / frobenius_norm(x_BTD)


@metric(
    "residual-composite",
    formula="||X - 1 m^T|| / ||X||,  m the mean token,  ||X|| = sqrt(max column sum |X| * max row sum |X|)",
    source=DONG,
    point=Point.RESIDUAL,
    collapse="falls towards 0 from layer to layer; may exceed 1, as the mean is not the nearest token in this norm",
    mean="geometric",
)
def residual_composite(x_BTD: Tensor) -> Tensor:
    """The distance of the tokens from their mean, in the norm of the theory of rank collapse.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    return composite_norm(subtract_mean_token(x_BTD)) / composite_norm(x_BTD)


@metric(
    "cosine",
    formula="mean of x_i . x_j / (|x_i| |x_j|) over i != j",
    source=f"{CONTRANORM}, arXiv:2206.03126",
    point=Point.RESIDUAL,
    collapse="rises towards 1",
)
def cosine(x_BTD: Tensor) -> Tensor:
    """The mean cosine similarity of two different tokens.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    tokens = x_BTD.shape[-2]
    if tokens < 2:
        return x_BTD.new_full(x_BTD.shape[:-2], math.nan)
    unit_BTD = torch.nn.functional.normalize(x_BTD, dim=-1, eps=1e-300)
    # The sum over all pairs, less each token with itself.
    pairs_B = unit_BTD.sum(-2).square().sum(-1) - unit_BTD.square().sum((-2, -1))
    return pairs_B / (tokens * (tokens - 1))


@metric(
    "stable-rank",
    formula="||X||_F^2 / s_1^2,  s the singular values, not centered",
    source="the usual definition; that of X X^T, as in arXiv:2410.07799, is another number",
    point=Point.RESIDUAL,
    collapse="falls to 1",
)
def stable_rank(x_BTD: Tensor) -> Tensor:
    """The number of directions that are as strong as the strongest.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    return relative_singular_values(x_BTD).square().sum(-1)


@metric(
    "participation",
    formula="(sum s^2)^2 / sum s^4,  s the singular values, not centered",
    source="the usual definition",
    point=Point.RESIDUAL,
    collapse="falls to 1",
)
def participation(x_BTD: Tensor) -> Tensor:
    """The number of directions that share the variance (participation ratio).

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    shares_BK = relative_singular_values(x_BTD).square()
    return shares_BK.sum(-1).square() / shares_BK.square().sum(-1)


@metric(
    "effective-rank",
    formula="exp(-sum p log p),  p = s / sum s,  s the singular values, not centered",
    source=CONTRANORM,
    point=Point.RESIDUAL,
    collapse="falls, to 1 where all tokens are equal; a fall that ends above 1 is collapse in dimension",
)
def effective_rank(x_BTD: Tensor) -> Tensor:
    """The number of directions that the tokens fill, by the entropy of the singular values.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    values_BK = relative_singular_values(x_BTD)
    shares_BK = values_BK / values_BK.sum(-1, keepdim=True)
    return torch.special.entr(shares_BK).sum(-1).exp()


@metric(
    "effective-rank-centered",
    formula="exp(-sum p log p),  p = s / sum s,  s the singular values of X - 1 m^T,  m the mean token",
    source=CONTRANORM,
    point=Point.RESIDUAL,
    collapse="may stay high while the residual vanishes: the rest is small, not flat; nan where it is rounding error",
)
def effective_rank_centered(x_BTD: Tensor) -> Tensor:
    """The number of directions that the tokens fill around their mean.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    ranks_B = effective_rank(subtract_mean_token(x_BTD))
    return ranks_B.masked_fill(~(residual(x_BTD) > FLOAT_FLOOR), math.nan)


@metric(
    "frequency",
    formula="||HC||_F / ||DC||_F,  DC the mean token repeated, HC = X - DC",
    source="arXiv:2203.05962",
    point=Point.RESIDUAL,
    collapse="falls towards 0, as the residual does; unlike the residual it has no upper bound",
    mean="geometric",
)
def frequency(x_BTD: Tensor) -> Tensor:
    """The part that varies along the sequence, relative to the part that is constant.

    Args:
        x_BTD: The residual stream, B x T x D.

    Returns:
        One number per sequence, B.
    """
    rest_BTD = subtract_mean_token(x_BTD)
    return frobenius_norm(rest_BTD) / frobenius_norm(x_BTD - rest_BTD)


@metric(
    "branch-residual",
    formula="||Y - 1 m^T||_F / ||Y||_F,  Y = A V, heads side by side,  m the mean of its rows",
    source=DONG,
    point=Point.BRANCH,
    collapse="falls towards 0: the attention output is the same for every token; the residual connection may still "
    "keep tokens apart",
    mean="geometric",
)
def branch_residual(head_outputs_BTD: Tensor) -> Tensor:
    """The distance of the attention output from its mean over the tokens, relative to its norm.

    Args:
        head_outputs_BTD: The head outputs side by side, B x T x D.

    Returns:
        One number per sequence, B.
    """
    return residual(head_outputs_BTD)


@metric(
    "branch-cosine",
    formula="mean of y_i . y_j / (|y_i| |y_j|) over i != j,  Y = A V, heads side by side",
    source=CONTRANORM,
    point=Point.BRANCH,
    collapse="rises towards 1",
)
def branch_cosine(head_outputs_BTD: Tensor) -> Tensor:
    """The mean cosine similarity of the attention outputs of two different tokens.

    Args:
        head_outputs_BTD: The head outputs side by side, B x T x D.

    Returns:
        One number per sequence, B.
    """
    return cosine(head_outputs_BTD)
