"""Operations on rows of scores: a softmax with a sink, centered rows, uniform weights, the mask of a token itself.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.tensors import causal_mask

TINY = 1e-30
"""Below it float32 cannot represent the gradient of a square root, or a quotient."""


def softmax_with_sink(scores: Tensor, mask: Tensor, sink: Tensor) -> Tensor:
    """``exp(s) / (exp(sink) + sum exp(s))`` over the allowed keys: softmax with one more key that has no value.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.
        sink: The logit of the additional key, broadcastable to ... x T x 1.

    Returns:
        Weights of the shape of the scores; rows sum to less than one.
    """
    masked = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    column = sink.to(scores.dtype).expand(*scores.shape[:-1], 1)
    return torch.cat([masked, column], dim=-1).softmax(-1)[..., :-1].masked_fill(~mask, 0.0)


def center_rows(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Scores less the mean of their row, and the standard deviation of the row, over the allowed keys only.

    The deviation is that of a population. Where it is zero, as in a row of one key, its gradient is zero too.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.

    Returns:
        The centered scores, zero where no key is allowed, and the deviations, ... x T x 1.
    """
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    mean = scores.masked_fill(~mask, 0.0).sum(-1, keepdim=True) / count
    centered = (scores - mean).masked_fill(~mask, 0.0)
    variance = centered.square().sum(-1, keepdim=True) / count
    return centered, variance.clamp_min(TINY).sqrt()


def uniform_weights(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix C of uniform weights: each row gives ``1 / n_i`` to each of its n_i allowed keys.

    Args:
        mask: bool, ... x T x S; True where a key is allowed.
        dtype: The type of the weights.

    Returns:
        Weights of the shape of the mask.
    """
    return mask.to(dtype) / mask.sum(-1, keepdim=True).clamp_min(1)


def self_mask(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """True where the key is the query's own token, ``j = i + start``.

    Args:
        queries: T.
        keys: S.
        start: Index of the first query among the keys.
        device: The device of the mask.

    Returns:
        bool, T x S.
    """
    return causal_mask(queries, keys, start, device) & ~causal_mask(queries, keys, start - 1, device)
