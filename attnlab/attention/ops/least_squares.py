"""What queries read with where a state holds keys times keys: one regularized system of C x C numbers for each token.

    x_t = (G_t + Diag(l))^-1 q_t,   G_t = a_t G_{t-1} + b_t k_t k_t^T

Compiled loops keep the sums and the systems of many heads in the cache and factorize each; on the way back each system
is factorized once more, for the gradient of x, so that no C x C numbers per token are kept. Without numba, and for all
but float32 on a CPU, torch's operations compute the same numbers but for their rounding.

Letters  B batch, H heads, T tokens, C channels.
"""

from __future__ import annotations

from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops import loops
from attnlab.attention.ops.looped import Tensors, looped
from attnlab.attention.ops.loops import rows_of
from attnlab.attention.ops.tiles import empty_like_heads

MOST_CHANNELS = 128
"""Most channels of a compiled loop: it holds the sums of some tokens of many heads."""
LEAST_HEADS = 12
"""Fewest heads of all sequences of a compiled loop, which computes 32 at a time: torch is faster for fewer."""


def usable(queries: Tensor, *others: Tensor) -> bool:
    """Decide whether compiled loops solve the systems.

    Args:
        queries: q, B x H x T x C.
        *others: All others.

    Returns:
        True for float32 on a CPU with numba, for systems that are neither large nor of few heads.
    """
    if queries.ndim != 4 or queries.shape[-1] > MOST_CHANNELS or queries.shape[0] * queries.shape[1] < LEAST_HEADS:
        return False
    return loops.usable(queries, *others)


def solutions(
    queries_BHTC: Tensor, keys_BHTC: Tensor, strengths_BHT1: Tensor, log_decays_BHT1: Tensor, ridge_H1C: Tensor
) -> Tensor:
    """Compute x for all tokens by compiled loops.

    Args:
        queries_BHTC: q; it and all others as :func:`usable` demands.
        keys_BHTC: k.
        strengths_BHT1: b.
        log_decays_BHT1: log a, at most 0.
        ridge_H1C: l, above 0.

    Returns:
        B x H x T x C.
    """
    ridge_BH1C = ridge_H1C.expand(queries_BHTC.shape[0], *ridge_H1C.shape)
    return looped(_SystemLoops(), queries_BHTC, keys_BHTC, strengths_BHT1, log_decays_BHT1.exp(), ridge_BH1C)


@final
class _SystemLoops:
    """x; of q, k, b, a and l."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute x."""
        from attnlab.attention.ops.least_squares_loops import forward

        queries, keys, strengths, decays, ridge = tensors
        result = empty_like_heads(queries)
        arrays = [*map(rows_of, (queries, keys, strengths, decays)), _numbers(ridge), rows_of(result)]
        loops.in_threads(forward, [_heads(queries)], _multiplications(queries), *arrays)
        return result

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients of all five."""
        from attnlab.attention.ops.least_squares_loops import SEGMENT, backward

        _, *read, ridge = tensors
        *written, ridge_grad = (empty_like_heads(one) for one in tensors)
        arrays = [*map(rows_of, read), _numbers(ridge), *map(rows_of, (result, grad, *written)), _numbers(ridge_grad)]
        numbers = *arrays, loops.segment_of(result.shape[-2], SEGMENT)
        loops.in_threads(backward, [_heads(result)], 2 * _multiplications(result), *numbers)
        return *written, ridge_grad


def _numbers(ridge_BH1C: Tensor) -> loops.Numbers:
    """View l as B x H x C numbers."""
    return ridge_BH1C.detach().squeeze(-2).numpy()


def _heads(queries_BHTC: Tensor) -> loops.Integers:
    """List the heads of all sequences."""
    return np.arange(queries_BHTC.shape[0] * queries_BHTC.shape[1])[:, None]


def _multiplications(queries_BHTC: Tensor) -> int:
    """Count those of the factorizations."""
    return queries_BHTC.numel() * queries_BHTC.shape[-1] ** 2 // 6
