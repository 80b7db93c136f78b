"""The rows of an effective attention matrix as probabilities.

    p_ij = |w_ij| / sum_j |w_ij|          a row of zeros stays zeros

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PROBABILITY = "p = |w| / sum |w|"
"""The definition of p, for the formula of a metric."""


def probabilities(weights_BHTS: Tensor) -> Tensor:
    """Normalize weights to probabilities: ``|w| / sum |w|``, and zero where a row is zero."""
    sizes_BHTS = weights_BHTS.abs()
    # Scaled by the largest first, so that rows of tiny numbers divide cleanly.
    sizes_BHTS = safe_divide(sizes_BHTS, sizes_BHTS.amax(-1, keepdim=True))
    return safe_divide(sizes_BHTS, sizes_BHTS.sum(-1, keepdim=True))


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide two non-negative tensors, with 0 / 0 = 0."""
    return numerator / denominator.masked_fill(denominator == 0, 1.0)


def row_entropies(weights_BHTS: Tensor) -> Tensor:
    """Compute the entropy of each row in nats, B x H x T."""
    return torch.special.entr(probabilities(weights_BHTS)).sum(-1)


def query_and_key_positions(weights_BHTS: Tensor) -> tuple[Tensor, Tensor]:
    """Number the queries, T x 1, and the keys, S, of a matrix; the last query stands at the last key."""
    queries, keys = weights_BHTS.shape[-2:]
    keys_S = torch.arange(keys, device=weights_BHTS.device)
    return keys_S[keys - queries :, None], keys_S


def mean_after_first(values_BHT: Tensor) -> Tensor:
    """Average over all rows but the first, which has one key only; nan where there is no other."""
    return (
        values_BHT[..., 1:].mean(-1)
        if values_BHT.shape[-1] > 1
        else values_BHT.new_full(values_BHT.shape[:-1], math.nan)
    )
