"""Linear attention of short sequences, with one decay per token, by compiled loops: all weights of a head in the cache.

    A_ij = q_i.k_j a_(j+1) ... a_i,    y = A v,   with ``normalized`` each row divided by its sum

A row of the decay products is the row before times a_i, and 1 for the token itself. On the way back their gradients go
from the last row to the first in the same manner, so that neither is a quotient or a difference.

Letters  B batch, H heads, T tokens, C channels per head of queries and keys, D of values.
"""

from __future__ import annotations

from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, THREE, ZERO, product
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Numbers, compiled, in_threads, loop, rows_of
from attnlab.attention.ops.tiles import empty_like_heads


@final
class DecayLoops:
    """y; of queries, keys, a and values.

    Args:
        normalized: Whether each row of the weights is divided by its sum.
        least: A row with no larger sum is zero then.
    """

    def __init__(self, *, normalized: bool, least: float) -> None:
        self.numbers = normalized, np.float32(least)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute y.

        Args:
            *tensors: Queries, keys, a and values, B x H x T x C, a of one channel.

        Returns:
            y, B x H x T x D.
        """
        queries, keys, decays, values = tensors
        mixed = empty_like_heads(values)
        arrays = [*map(rows_of, (queries, keys, values, mixed)), decays.detach()[..., 0].numpy()]
        in_threads(_forward, arrays, queries.numel() * queries.shape[-2], *self.numbers)
        return mixed

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients of all four.

        Args:
            tensors: As in ``forward``.
            result: What it returned.
            grad: The gradient of the result.

        Returns:
            One of the shape of each tensor.
        """
        queries, keys, decays, values = tensors
        results = empty_like_heads(queries), empty_like_heads(keys), empty_like_heads(values)
        decay_grads = decays.new_empty(decays.shape)
        arrays = [
            *map(rows_of, (queries, keys, values, result, grad, *results)),
            *(one.detach()[..., 0].numpy() for one in (decays, decay_grads)),
        ]
        in_threads(_backward, arrays, 3 * queries.numel() * queries.shape[-2], *self.numbers)
        return results[0], results[1], decay_grads, results[2]


@compiled
def _remaining(decays: Numbers, products: Numbers) -> None:
    """Write the products of the decays between two tokens, T x T, zero for later ones."""
    for i in range(len(decays)):
        decay, row = decays[i], products[i]
        if i:
            before = products[i - 1]
            for j in range(i):
                row[j] = before[j] * decay
        row[i] = ONE
        row[i + 1 :] = ZERO


@loop(f"void({FOUR}, {FOUR}, {FOUR}, {FOUR}, {THREE}, boolean, float32)")
def _forward(
    queries: Numbers,
    keys: Numbers,
    values: Numbers,
    mixed: Numbers,
    decays: Numbers,
    normalized: bool,
    least: np.float32,
) -> None:
    """Fill ``mixed``."""
    batch, heads, tokens, _ = queries.shape
    scores, remaining = np.empty((tokens, tokens), np.float32), np.empty((tokens, tokens), np.float32)
    decay, total = np.empty(tokens, np.float32), ZERO
    for b in range(batch):
        for h in range(heads):
            for i in range(tokens):
                decay[i] = decays[b, h, i]
            _remaining(decay, remaining)
            product(queries[b, h], keys[b, h].T, ONE, ZERO, scores)
            for i in range(tokens):
                row, left, total = scores[i], remaining[i], ZERO
                for j in range(tokens):
                    row[j] *= left[j]
                if normalized:
                    for j in range(i + 1):
                        total += row[j]
                    inverse = ONE / total if total > least else ZERO
                    for j in range(i + 1):
                        row[j] *= inverse
            product(scores, values[b, h], ONE, ZERO, mixed[b, h])


@loop(f"void({', '.join([FOUR] * 8)}, {THREE}, {THREE}, boolean, float32)")
def _backward(
    queries: Numbers,
    keys: Numbers,
    values: Numbers,
    mixed: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    value_grads: Numbers,
    decays: Numbers,
    decay_grads: Numbers,
    normalized: bool,
    least: np.float32,
) -> None:
    """Fill the gradients."""
    batch, heads, tokens, _ = queries.shape
    columns = values.shape[3]
    scores, remaining = np.empty((tokens, tokens), np.float32), np.empty((tokens, tokens), np.float32)
    slopes, carried = np.empty((tokens, tokens), np.float32), np.empty(tokens, np.float32)
    decay = np.empty(tokens, np.float32)
    for b in range(batch):
        for h in range(heads):
            y, g = mixed[b, h], grads[b, h]
            for i in range(tokens):
                decay[i] = decays[b, h, i]
            _remaining(decay, remaining)
            product(queries[b, h], keys[b, h].T, ONE, ZERO, scores)
            product(g, values[b, h].T, ONE, ZERO, slopes)
            carried[:] = ZERO
            for i in range(tokens - 1, -1, -1):
                row, left, slope, inverse, shared = scores[i], remaining[i], slopes[i], ONE, ZERO
                if normalized:
                    total = ZERO
                    for j in range(i + 1):
                        total += row[j] * left[j]
                    inverse = ONE / total if total > least else ZERO
                    for d in range(columns):
                        shared += g[i, d] * y[i, d]
                gradient, factor = ZERO, decay[i]
                for j in range(i + 1):  # of the products of decays, then of the scores
                    one = (slope[j] - shared) * inverse
                    carried[j] += one * row[j]
                    row[j] *= left[j] * inverse
                    slope[j] = one * left[j]
                for j in range(i + 1, tokens):
                    row[j] = slope[j] = ZERO
                if i:
                    before = remaining[i - 1]
                    for j in range(i):
                        gradient += carried[j] * before[j]
                        carried[j] *= factor
                decay_grads[b, h, i] = gradient
            product(scores.T, g, ONE, ZERO, value_grads[b, h])
            product(slopes.T, queries[b, h], ONE, ZERO, key_grads[b, h])
            product(slopes, keys[b, h], ONE, ZERO, query_grads[b, h])
