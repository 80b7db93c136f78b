"""How alike the tokens of a stream have become: residuals, cosines, ranks, frequencies.

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

from attnlab.metrics.metric import FLOOR, Point, metric

DONG = "arXiv:2103.03404"
CONTRANORM = "arXiv:2303.06562"


def residual_of(stream_BTD: Tensor) -> Tensor:
    """Tokens less the mean token of their own sequence."""
    return stream_BTD - stream_BTD.mean(-2, keepdim=True)


def frobenius(stream_BTD: Tensor) -> Tensor:
    """The root of the sum of squares of each sequence."""
    return stream_BTD.square().sum((-2, -1)).sqrt()


def composite(stream_BTD: Tensor) -> Tensor:
    """``sqrt(||X||_1 ||X||_inf)`` of each sequence."""
    sizes = stream_BTD.abs()
    return (sizes.sum(-2).amax(-1) * sizes.sum(-1).amax(-1)).sqrt()


def spectrum(stream_BTD: Tensor) -> Tensor:
    """Singular values of each sequence, the largest first, as shares of the largest; nan where all are zero."""
    values_BK = torch.linalg.svdvals(stream_BTD.double())
    return values_BK / values_BK[..., :1]


@metric(
    "residual",
    formula="||X - 1 m^T||_F / ||X||_F,  m the mean token",
    source=DONG,
    point=Point.STREAM,
    collapse="falls towards 0 from layer to layer; 0 where all tokens are one",
    mean="geometric",
)
def residual(stream_BTD: Tensor) -> Tensor:
    """How far tokens are from their mean, relative to their size."""
    return frobenius(residual_of(stream_BTD)) / frobenius(stream_BTD)


@metric(
    "residual-composite",
    formula="||X - 1 m^T|| / ||X||,  m the mean token,  ||X|| = sqrt(max column sum |X| * max row sum |X|)",
    source=DONG,
    point=Point.STREAM,
    collapse="falls towards 0 from layer to layer; may exceed 1, as the mean is not the nearest token in this norm",
    mean="geometric",
)
def residual_composite(stream_BTD: Tensor) -> Tensor:
    """How far tokens are from their mean, in the norm of the theory of rank collapse."""
    return composite(residual_of(stream_BTD)) / composite(stream_BTD)


@metric(
    "cosine",
    formula="mean of x_i . x_j / (|x_i| |x_j|) over i != j",
    source=f"{CONTRANORM}, arXiv:2206.03126",
    point=Point.STREAM,
    collapse="rises towards 1",
)
def cosine(stream_BTD: Tensor) -> Tensor:
    """How alike two different tokens are in direction."""
    tokens = stream_BTD.shape[-2]
    if tokens < 2:
        return stream_BTD.new_full(stream_BTD.shape[:-2], math.nan)
    unit_BTD = torch.nn.functional.normalize(stream_BTD, dim=-1, eps=1e-300)
    # The sum over all pairs, less each token with itself.
    pairs_B = unit_BTD.sum(-2).square().sum(-1) - unit_BTD.square().sum((-2, -1))
    return pairs_B / (tokens * (tokens - 1))


@metric(
    "stable-rank",
    formula="||X||_F^2 / s_1^2,  s the singular values, not centerd",
    source="the usual definition; that of X X^T, as in arXiv:2410.07799, is another number",
    point=Point.STREAM,
    collapse="falls to 1",
)
def stable_rank(stream_BTD: Tensor) -> Tensor:
    """How many directions are as strong as the strongest."""
    return spectrum(stream_BTD).square().sum(-1)


@metric(
    "participation",
    formula="(sum s^2)^2 / sum s^4,  s the singular values, not centerd",
    source="the usual definition",
    point=Point.STREAM,
    collapse="falls to 1",
)
def participation(stream_BTD: Tensor) -> Tensor:
    """How many directions share the variance."""
    shares_BK = spectrum(stream_BTD).square()
    return shares_BK.sum(-1).square() / shares_BK.square().sum(-1)


@metric(
    "effective-rank",
    formula="exp(-sum p log p),  p = s / sum s,  s the singular values, not centerd",
    source=CONTRANORM,
    point=Point.STREAM,
    collapse="falls, to 1 where all tokens are one; falling short of 1 is collapse in dimension",
)
def effective_rank(stream_BTD: Tensor) -> Tensor:
    """How many directions the tokens fill, by the entropy of the singular values."""
    values_BK = spectrum(stream_BTD)
    shares_BK = values_BK / values_BK.sum(-1, keepdim=True)
    return torch.special.entr(shares_BK).sum(-1).exp()


@metric(
    "effective-rank-centerd",
    formula="exp(-sum p log p),  p = s / sum s,  s the singular values of X - 1 m^T,  m the mean token",
    source=CONTRANORM,
    point=Point.STREAM,
    collapse="may stay high while the residual vanishes: what is left is small, not flat; nan where it is rounding",
)
def effective_rank_centred(stream_BTD: Tensor) -> Tensor:
    """How many directions the tokens fill around their mean."""
    ranks_B = effective_rank(residual_of(stream_BTD))
    return ranks_B.masked_fill(~(residual(stream_BTD) > FLOOR), math.nan)


@metric(
    "frequency",
    formula="||HC||_F / ||DC||_F,  DC the mean token repeated, HC = X - DC",
    source="arXiv:2203.05962",
    point=Point.STREAM,
    collapse="falls towards 0, as the residual does; unlike it, has no ceiling of 1",
    mean="geometric",
)
def frequency(stream_BTD: Tensor) -> Tensor:
    """How strong what changes along the sequence is, against what stays."""
    rest_BTD = residual_of(stream_BTD)
    return frobenius(rest_BTD) / frobenius(stream_BTD - rest_BTD)


@metric(
    "branch-residual",
    formula="||Y - 1 m^T||_F / ||Y||_F,  Y = A V, heads side by side,  m the mean of its rows",
    source=DONG,
    point=Point.BRANCH,
    collapse="falls towards 0: attention writes the same to every token; the skip may still carry the stream",
    mean="geometric",
)
def branch_residual(written_BTD: Tensor) -> Tensor:
    """How far what attention writes is from its mean over the tokens."""
    return residual(written_BTD)


@metric(
    "branch-cosine",
    formula="mean of y_i . y_j / (|y_i| |y_j|) over i != j,  Y = A V, heads side by side",
    source=CONTRANORM,
    point=Point.BRANCH,
    collapse="rises towards 1",
)
def branch_cosine(written_BTD: Tensor) -> Tensor:
    """How alike what attention writes to two different tokens is."""
    return cosine(written_BTD)
