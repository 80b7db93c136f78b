"""What an effective attention matrix looks like: entropy, sinks, distances, signs, and heads of known kinds.

    p_ij = |w_ij| / sum_j |w_ij|          where a probability is needed; a row of zeros stays zeros
    H_i  = -sum_j p_ij log p_ij           at most log n_i, with n_i = i + 1 keys not after query i

For rows that are non-negative and sum to one p is w; for signed, free and substochastic rows it is a reading of them,
and ``row-sum``, ``row-gain`` and ``negative-mass`` stand beside it. A row of zeros has entropy 0, attends nowhere, and
shows as a row gain of 0. The first row, which has no choice, is left out wherever the formula says i >= 1.

Source   entropy: Zhai et al., arXiv:2303.06296; sinks: Gu et al., "When attention sink emerges in language models",
         arXiv:2410.10781, and its code (eps 0.3); singular gap: Nait Saada et al., "Mind the gap", arXiv:2410.07799;
         induction, previous token: Olsson et al., "In-context learning and induction heads", arXiv:2209.11895.
Differs  rows are causal: log n_i and i, never log T and T.

Letters  B batch, H heads, T queries, S keys. Queries and keys are counted from 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnlab.metrics.metric import Point, metric

SHARES = "p = |w| / sum |w|"
"""What p is, for the card of a metric."""
SINK = 0.3
"""Share of the attention from which the first token counts as a sink."""


def likely(weights_BHTS: Tensor) -> Tensor:
    """Weights read as probabilities: ``|w| / sum |w|``, and zero where a row is zero."""
    sizes_BHTS = weights_BHTS.abs()
    # Scaled by the largest first, so that rows of tiny numbers divide cleanly.
    sizes_BHTS = over(sizes_BHTS, sizes_BHTS.amax(-1, keepdim=True))
    return over(sizes_BHTS, sizes_BHTS.sum(-1, keepdim=True))


def over(part: Tensor, whole: Tensor) -> Tensor:
    """A quotient of numbers that are not negative, 0 where nothing is divided by nothing."""
    return part / whole.masked_fill(whole == 0, 1.0)


def entropies(weights_BHTS: Tensor) -> Tensor:
    """The entropy of each row in nats, B x H x T."""
    return torch.special.entr(likely(weights_BHTS)).sum(-1)


def places(weights_BHTS: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each query, T x 1, and of each key, S."""
    queries, keys = weights_BHTS.shape[-2:]
    keys_S = torch.arange(keys, device=weights_BHTS.device)
    return keys_S[keys - queries :, None], keys_S


def choosing(values_BHT: Tensor) -> Tensor:
    """The mean over the rows that have a choice: all but the first; nan where there is no other."""
    return (
        values_BHT[..., 1:].mean(-1)
        if values_BHT.shape[-1] > 1
        else values_BHT.new_full(values_BHT.shape[:-1], math.nan)
    )


@metric(
    "entropy",
    formula=f"mean of H_i / log(i + 1) over i >= 1,  H_i = -sum_j p_ij log p_ij,  {SHARES}",
    source="arXiv:2303.06296",
    point=Point.MATRIX,
    collapse="near 1 attention is uniform, the state of rank collapse; near 0 it has hardened, entropy collapse",
)
def entropy(weights_BHTS: Tensor) -> Tensor:
    """How evenly a row attends, against the most even it could."""
    rows_T = places(weights_BHTS)[0].flatten().to(weights_BHTS.dtype)
    return choosing(entropies(weights_BHTS) / (rows_T + 1).log().clamp_min(1e-300))


@metric(
    "entropy-nats",
    formula=f"mean of H_i over all i,  H_i = -sum_j p_ij log p_ij,  {SHARES}",
    source="arXiv:2303.06296",
    point=Point.MATRIX,
    collapse="a sharp fall along training comes before spikes of the loss",
)
def entropy_nats(weights_BHTS: Tensor) -> Tensor:
    """How evenly a row attends, in nats; equal shares give log(T!) / T."""
    return entropies(weights_BHTS).mean(-1)


@metric(
    "sink",
    formula=f"mean of p_i0 over all i,  {SHARES}",
    source="arXiv:2410.10781",
    point=Point.MATRIX,
    collapse="near 1 all rows attend to the first token; equal shares give H_T / T, 0.0741 at T = 64",
)
def sink(weights_BHTS: Tensor) -> Tensor:
    """How much of the attention goes to the first token."""
    return likely(weights_BHTS)[..., 0].mean(-1)


@metric(
    "sink-rate",
    formula="share of heads and sequences whose sink exceeds 0.3",
    source="arXiv:2410.10781",
    point=Point.MATRIX,
    collapse="near 1 most heads rest on the first token",
)
def sink_rate(weights_BHTS: Tensor) -> Tensor:
    """How many heads rest on the first token."""
    return (sink(weights_BHTS) > SINK).double()


@metric(
    "distance",
    formula=f"mean of sum_j p_ij (i - j) / i over i >= 1,  {SHARES}",
    source="ours",
    point=Point.MATRIX,
    collapse="0.5 for equal shares; 0 each token attends to itself; 1 all attend to the first",
)
def distance(weights_BHTS: Tensor) -> Tensor:
    """How far back a row attends, as a share of what lies behind it."""
    rows_T1, keys_S = places(weights_BHTS)
    far_TS = (rows_T1 - keys_S).clamp_min(0).to(weights_BHTS.dtype) / rows_T1.clamp_min(1)
    return choosing((likely(weights_BHTS) * far_TS).sum(-1))


@metric(
    "diversity",
    formula=f"mean of 1 - cos(p_i of one head, p_i of another) over i >= 1 and pairs of heads,  {SHARES}",
    source="arXiv:2203.05962, which compares whole maps",
    point=Point.MATRIX,
    collapse="near 0 all heads attend alike; nan with one head, which has no other",
)
def diversity(weights_BHTS: Tensor) -> Tensor:
    """How differently two heads attend; one number per sequence."""
    heads = weights_BHTS.shape[-3]
    likely_BHTS = likely(weights_BHTS)
    unit_BHTS = over(likely_BHTS, likely_BHTS.square().sum(-1, keepdim=True).sqrt())
    if heads < 2:
        return weights_BHTS.new_full(weights_BHTS.shape[:-3], math.nan)
    pairs_BT = unit_BHTS.sum(-3).square().sum(-1) - unit_BHTS.square().sum((-3, -1))
    return choosing(1 - pairs_BT / (heads * (heads - 1)))


@metric(
    "negative-mass",
    formula="mean over rows of sum_j max(-w_ij, 0) / sum_j |w_ij|",
    source="arXiv:2410.15578 for why; the number is ours",
    point=Point.MATRIX,
    collapse="0 for softmax; a signed mechanism at 0 has stopped using its sign",
)
def negative_mass(weights_BHTS: Tensor) -> Tensor:
    """How much of the attention is negative."""
    return over(weights_BHTS.clamp_max(0).abs().sum(-1), weights_BHTS.abs().sum(-1)).mean(-1)


@metric(
    "row-gain",
    formula="mean over rows of sum_j |w_ij|",
    source="ours",
    point=Point.MATRIX,
    collapse="1 for softmax; 0 where rows are all zero and attention passes nothing on",
)
def row_gain(weights_BHTS: Tensor) -> Tensor:
    """How strongly a row attends, signs aside."""
    return weights_BHTS.abs().sum(-1).mean(-1)


@metric(
    "row-sum",
    formula="mean over rows of sum_j w_ij",
    source="ours",
    point=Point.MATRIX,
    collapse="with a constant sum in every row, collapsed tokens stay collapsed, whatever the weights",
)
def row_sum(weights_BHTS: Tensor) -> Tensor:
    """What a row's weights sum to."""
    return weights_BHTS.sum(-1).mean(-1)


@metric(
    "peak",
    formula="mean over i >= 1 of max_j |w_ij|",
    source="arXiv:2308.16898 reads the most probable key as the selected token",
    point=Point.MATRIX,
    collapse="near 1, for softmax, each row has selected a token and its gradient has gone",
)
def peak(weights_BHTS: Tensor) -> Tensor:
    """The largest weight of a row."""
    return choosing(weights_BHTS.abs().amax(-1))


@metric(
    "saturation",
    formula=f"share of rows i >= 1 with max_j p_ij > 0.999,  {SHARES}",
    source="arXiv:2308.16898",
    point=Point.MATRIX,
    collapse="near 1 attention has hardened: the scores get no gradient",
)
def saturation(weights_BHTS: Tensor) -> Tensor:
    """How many rows attend to one token only."""
    return choosing((likely(weights_BHTS).amax(-1) > 0.999).to(weights_BHTS.dtype))


@metric(
    "singular-gap",
    formula="s_1 / s_2 of the matrix",
    source="arXiv:2410.07799",
    point=Point.MATRIX,
    collapse="grows: one direction outruns the others; equal shares have a gap of their own",
    mean="geometric",
)
def singular_gap(weights_BHTS: Tensor) -> Tensor:
    """How far the strongest direction of the matrix stands out; 1 for a matrix of zeros."""
    if min(weights_BHTS.shape[-2:]) < 2:
        return weights_BHTS.new_full(weights_BHTS.shape[:-2], math.nan)
    first_BH, second_BH = torch.linalg.svdvals(weights_BHTS.double())[..., :2].unbind(-1)
    least_BH = first_BH * torch.finfo(torch.float64).eps + 1e-300
    return first_BH.clamp_min(1e-300) / second_BH.maximum(least_BH)


@metric(
    "previous-token",
    formula=f"mean of p_i,i-1 over i >= 1,  {SHARES}",
    source="arXiv:2209.11895",
    point=Point.MATRIX,
    collapse="near 1 the head copies from the token before",
)
def previous_token(weights_BHTS: Tensor) -> Tensor:
    """How much of the attention goes to the token before."""
    rows_T1, keys_S = places(weights_BHTS)
    return choosing((likely(weights_BHTS) * (rows_T1 - 1 == keys_S)).sum(-1))


@metric(
    "duplicate",
    formula=f"mean of sum_j p_ij [j < i, x_j = x_i] over the i whose token stood before,  x the tokens,  {SHARES}",
    source="Wang et al., arXiv:2211.00593",
    point=Point.MATRIX,
    collapse="near 1 the head finds the same token; nan where no token repeats",
)
def duplicate(weights_BHTS: Tensor, inputs_BT: Tensor) -> Tensor:
    """How much of the attention goes to earlier copies of the token."""
    return _found(weights_BHTS, _earlier(inputs_BT))


@metric(
    "induction",
    formula="mean of sum_j p_ij [j <= i, x_j-1 = x_i, j - 1 < i] over the i whose token stood before,"
    f"  x the tokens,  {SHARES}",
    source="arXiv:2209.11895, its prefix matching",
    point=Point.MATRIX,
    collapse="near 1 the head finds what followed the same token; nan where no token repeats",
)
def induction(weights_BHTS: Tensor, inputs_BT: Tensor) -> Tensor:
    """How much of the attention goes to what followed earlier copies of the token."""
    return _found(weights_BHTS, torch.nn.functional.pad(_earlier(inputs_BT), (1, 0))[..., :-1])


def _earlier(inputs_BT: Tensor) -> Tensor:
    """Where a key is an earlier copy of the query's token: bool, B x T x S."""
    return (inputs_BT[..., :, None] == inputs_BT[..., None, :]).tril(-1)


def _found(weights_BHTS: Tensor, sought_BTS: Tensor) -> Tensor:
    """The mean attention to the keys that are sought, over the rows that have any; nan where none has."""
    attended_BHT = (likely(weights_BHTS) * sought_BTS.unsqueeze(-3)).sum(-1)
    asked_B1T = sought_BTS.any(-1).unsqueeze(-2)
    return (attended_BHT * asked_B1T).sum(-1) / asked_B1T.sum(-1)
