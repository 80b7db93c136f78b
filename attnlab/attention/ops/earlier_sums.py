"""Sums over earlier queries of the positive scores of each key, at the end of every group of queries.

    sums_jn = sum_{j < t < (n + 1) G} relu(s q_t.k_j),   j > 0

Memory is linear in the scores of one group; the backward pass computes them again.

Letters  N groups of G queries, T queries, S keys, C channels.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from attnlab.differentiation import differentiable_once

GROUP = 128
"""Queries of a group, G."""


def earlier_sums(queries_TC: Tensor, keys_SC: Tensor, scale: float) -> Tensor:
    """Sum the positive scores of each key after the first one, over the queries after it.

    Args:
        queries_TC: Queries of all tokens, ... x T x C.
        keys_SC: Keys of all tokens, ... x T x C.
        scale: Factor on the products, s.

    Returns:
        ... x S x N: for each complete group of queries, the sum over all queries up to its last one.
    """
    sums: Tensor = _GroupSums.apply(queries_TC, keys_SC, scale)  # type: ignore[no-untyped-call]
    return sums.cumsum(-1)


def positive_scores(queries_TC: Tensor, keys_SC: Tensor, scale: float, start: int) -> Tensor:
    """The positive scores of keys before their query, without those of the first key.

    Args:
        queries_TC: Queries, ... x T x C.
        keys_SC: Keys, ... x S x C.
        scale: Factor on the products.
        start: Index of the first query among the keys.

    Returns:
        ... x T x S; zero elsewhere.
    """
    return keep_earlier((queries_TC @ keys_SC.mT * scale).relu(), start)


def keep_earlier(scores_TS: Tensor, start: int) -> Tensor:
    """Set the entries of keys that are not before their query, and of the first key, to zero.

    Args:
        scores_TS: ... x T x S.
        start: Index of the first query among the keys.

    Returns:
        ... x T x S.
    """
    return scores_TS.tril(start - 1) * (torch.arange(scores_TS.shape[-1], device=scores_TS.device) > 0)


@final
class _GroupSums(torch.autograd.Function):
    """The sums of each group by itself, ... x S x N."""

    generate_vmap_rule = True

    @staticmethod
    def forward(queries_TC: Tensor, keys_SC: Tensor, scale: float) -> Tensor:
        """Add up the scores of one group after another."""
        groups = queries_TC.shape[-2] // GROUP
        sums_SN = (queries_TC[..., :1, :1] * keys_SC[..., :1]).new_zeros(*keys_SC.shape[:-1], groups)
        for group in range(groups):
            first, last = group * GROUP, (group + 1) * GROUP
            scores = positive_scores(queries_TC[..., first:last, :], keys_SC[..., :last, :], scale, first)
            sums_SN[..., :last, group] = scores.sum(-2)
        return sums_SN

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs."""
        queries_TC, keys_SC, ctx.scale = inputs
        ctx.save_for_backward(queries_TC, keys_SC)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_SN: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradient of a sum reaches each score that is positive."""
        queries_TC, keys_SC = ctx.saved_tensors
        grad_queries, grad_keys = torch.zeros_like(queries_TC), torch.zeros_like(keys_SC)
        for group in range(grad_SN.shape[-1]):
            first, last = group * GROUP, (group + 1) * GROUP
            queries, keys = queries_TC[..., first:last, :], keys_SC[..., :last, :]
            grad_1S = grad_SN[..., :last, group].unsqueeze(-2) * ctx.scale
            grad_scores = keep_earlier(grad_1S * (queries @ keys.mT > 0), first)
            grad_queries[..., first:last, :] = grad_scores @ keys
            grad_keys[..., :last, :] += grad_scores.mT @ queries
        return grad_queries, grad_keys, None
