"""What several families do to a row of scores: a sink beside the keys, the spread of the allowed ones, equal shares.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.tensors import causal_mask

TINY = 1e-30
"""Below it float32 has no room for a square root's slope, or for a quotient."""


def softmax_with_sink(scores: Tensor, mask: Tensor, sink: Tensor) -> Tensor:
    """``exp(s) / (exp(sink) + sum exp(s))`` over the allowed keys: softmax with one more key that has no value.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.
        sink: The logit of the further key, broadcastable to ... x T x 1.
    """
    masked = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    column = sink.to(scores.dtype).expand(*scores.shape[:-1], 1)
    return torch.cat([masked, column], dim=-1).softmax(-1)[..., :-1].masked_fill(~mask, 0.0)


def center_rows(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each score from the mean of its row, and the row's standard deviation, over allowed keys only.

    The deviation is that of a population; where it is zero, as in a row of one key, its slope is zero too.
    """
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    mean = scores.masked_fill(~mask, 0.0).sum(-1, keepdim=True) / count
    distance = (scores - mean).masked_fill(~mask, 0.0)
    variance = distance.square().sum(-1, keepdim=True) / count
    return distance, variance.clamp_min(TINY).sqrt()


def uniform_weights(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """C, the matrix of equal shares: each row gives ``1 / n_i`` to each of its n_i allowed keys."""
    return mask.to(dtype) / mask.sum(-1, keepdim=True).clamp_min(1)


def self_mask(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """True where the key is the query's own token, ``j = i + start``; bool, T x S."""
    return causal_mask(queries, keys, start, device) & ~causal_mask(queries, keys, start - 1, device)
