"""Metrics of heads of known kinds: previous-token, duplicate-token and induction heads.

    p_ij = |w_ij| / sum_j |w_ij|          a row of zeros stays zeros

Source   induction, previous token: Olsson et al., "In-context learning and induction heads", arXiv:2209.11895;
         duplicate token: Wang et al., "Interpretability in the wild", arXiv:2211.00593.

Letters  B batch, H heads, T queries, S keys. Queries and keys are counted from 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.metrics._rows import PROBABILITY, mean_after_first, probabilities, query_and_key_positions
from attnlab.metrics.metric import Point, metric


@metric(
    "previous-token",
    formula=f"mean of p_i,i-1 over i >= 1,  {PROBABILITY}",
    source="arXiv:2209.11895",
    point=Point.MATRIX,
    collapse="near 1 the head attends to the token before the query",
)
def previous_token(weights_BHTS: Tensor) -> Tensor:
    """The share of the attention that goes to the previous token.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.

    Returns:
        One number per sequence and head, B x H.
    """
    rows_T1, keys_S = query_and_key_positions(weights_BHTS)
    return mean_after_first((probabilities(weights_BHTS) * (rows_T1 - 1 == keys_S)).sum(-1))


@metric(
    "duplicate",
    formula="mean of sum_j p_ij [j < i, x_j = x_i] over the i with an earlier copy of x_i,"
    f"  x the tokens,  {PROBABILITY}",
    source="Wang et al., arXiv:2211.00593",
    point=Point.MATRIX,
    collapse="near 1 the head finds the same token; nan where no token repeats",
)
def duplicate(weights_BHTS: Tensor, inputs_BT: Tensor) -> Tensor:
    """The share of the attention that goes to earlier copies of the token.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.
        inputs_BT: The input tokens, B x T.

    Returns:
        One number per sequence and head, B x H.
    """
    return _mean_attention_to(weights_BHTS, _earlier_copies(inputs_BT))


@metric(
    "induction",
    formula="mean of sum_j p_ij [j <= i, x_j-1 = x_i, j - 1 < i] over the i with an earlier copy of x_i,"
    f"  x the tokens,  {PROBABILITY}",
    source="arXiv:2209.11895, its prefix matching",
    point=Point.MATRIX,
    collapse="near 1 the head finds the token that followed the same token; nan where no token repeats",
)
def induction(weights_BHTS: Tensor, inputs_BT: Tensor) -> Tensor:
    """The share of the attention that goes to the tokens after earlier copies of the token.

    Args:
        weights_BHTS: The effective matrix of a layer, B x H x T x S.
        inputs_BT: The input tokens, B x T.

    Returns:
        One number per sequence and head, B x H.
    """
    return _mean_attention_to(weights_BHTS, torch.nn.functional.pad(_earlier_copies(inputs_BT), (1, 0))[..., :-1])


def _earlier_copies(inputs_BT: Tensor) -> Tensor:
    """Mark the keys that are an earlier copy of the query's token: bool, B x T x S."""
    return (inputs_BT[..., :, None] == inputs_BT[..., None, :]).tril(-1)


def _mean_attention_to(weights_BHTS: Tensor, targets_BTS: Tensor) -> Tensor:
    """Average the attention to the target keys over the rows that have any; nan where none has."""
    attended_BHT = (probabilities(weights_BHTS) * targets_BTS.unsqueeze(-3)).sum(-1)
    has_target_B1T = targets_BTS.any(-1).unsqueeze(-2)
    return (attended_BHT * has_target_B1T).sum(-1) / has_target_B1T.sum(-1)
