"""Weighted sums of the values under ``f(z) = z^2 / (1 + z^2)`` by compiled loops, a block of scores at a time.

The formulas are those of :mod:`attnlab.attention.ops.rational`. A block of at most 32 x 64 scores stays in the first
cache between its products, and one pass over it makes weights, their sums, and on the way back both derivatives.
Rows whose sum loses digits are found by the caller, which then takes its own way.

Letters  B batch, H heads, T queries and keys, C channels per head of queries and keys, D of values, R rows of a block.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, THREE, TWO, ZERO, product, room_to_transpose, transpose
from attnlab.attention.ops.loops import PRODUCT, Numbers, in_threads, loop, rows_of
from attnlab.attention.ops.tiles import empty_like_heads

KEYS = 64
"""Keys of a block."""


def forward(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Compute the weighted sums and the sum of the weights of each row.

    Args:
        queries: B x H x T x C, as :func:`attnlab.attention.ops.loops.usable` demands.
        keys: B x H x T x C.
        values: B x H x T x D.
        scale: Factor on the dot products.

    Returns:
        B x H x T x D, and B x H x T x 1.
    """
    mixed, totals = empty_like_heads(values), queries.new_empty(*queries.shape[:-1], 1)
    arrays = [*map(rows_of, (queries, keys, values, mixed)), totals[..., 0].numpy()]
    in_threads(_forward, arrays, queries.numel() * queries.shape[-2], np.float32(scale), _rows(queries, values))
    return mixed, totals


def backward(
    queries: Tensor, keys: Tensor, values: Tensor, mixed: Tensor, totals: Tensor, grad: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of queries, keys and values.

    Args:
        queries: B x H x T x C.
        keys: B x H x T x C.
        values: B x H x T x D.
        mixed: The weighted sums, B x H x T x D.
        totals: The sum of the weights of each row, B x H x T x 1.
        grad: The gradient of the sums, B x H x T x D.
        scale: Factor on the dot products.

    Returns:
        The gradients, of the shapes of queries, keys and values.
    """
    results = empty_like_heads(queries), empty_like_heads(keys).zero_(), empty_like_heads(values).zero_()
    arrays = [*map(rows_of, (queries, keys, values, mixed, grad, *results)), totals[..., 0].numpy()]
    in_threads(_backward, arrays, queries.numel() * queries.shape[-2], np.float32(scale), _rows(queries, values))
    return results


def _rows(queries: Tensor, values: Tensor) -> int:
    """Queries of a block: few where the sequence is short, so that blocks above the diagonal are left out."""
    most = PRODUCT // (KEYS * max(queries.shape[-1], values.shape[-1]))
    return max(1, min(16 if queries.shape[-2] <= KEYS else 32, most))


@loop(f"void({FOUR}, {FOUR}, {FOUR}, {FOUR}, {THREE}, float32, int64)")
def _forward(
    queries: Numbers, keys: Numbers, values: Numbers, mixed: Numbers, totals: Numbers, scale: np.float32, rows: int
) -> None:
    """Fill ``mixed`` and ``totals``."""
    batch, heads, tokens, channels = queries.shape
    transposed_keys = room_to_transpose(channels, tokens)
    sizes, factors, scores = np.empty(8, np.int64), np.empty(2, np.float32), np.empty((rows, KEYS), np.float32)
    for b in range(batch):
        for h in range(heads):
            q, k, v, y, n = queries[b, h], keys[b, h], values[b, h], mixed[b, h], totals[b, h]
            transpose(k, transposed_keys)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                for key in range(0, end, KEYS):
                    last = min(key + KEYS, end)
                    z = scores[: end - row, : last - key]
                    product(q[row:end], transposed_keys[:, key:last], scale, ZERO, z, sizes, factors)
                    for i in range(end - row):
                        allowed = min(max(row + i + 1 - key, 0), last - key)
                        weights, total = z[i], ZERO
                        for j in range(allowed):
                            square = weights[j] * weights[j]
                            f = square / (ONE + square)
                            weights[j] = f
                            total += f
                        for j in range(allowed, last - key):
                            weights[j] = ZERO
                        n[row + i] = total if key == 0 else n[row + i] + total
                    product(z, v[key:last], ONE, ZERO if key == 0 else ONE, y[row:end], sizes, factors)
                for i in range(row, end):
                    inverse = ONE / n[i]
                    for d in range(y.shape[1]):
                        y[i, d] *= inverse
            for d in range(y.shape[1]):
                y[0, d] = v[0, d]  # a single weight is exactly one


@loop(f"void({FOUR}, {FOUR}, {FOUR}, {FOUR}, {FOUR}, {FOUR}, {FOUR}, {FOUR}, {THREE}, float32, int64)")
def _backward(
    queries: Numbers,
    keys: Numbers,
    values: Numbers,
    mixed: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    value_grads: Numbers,
    totals: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill the gradients of the queries, and add to those of keys and values."""
    batch, heads, tokens, channels = queries.shape
    transposed_keys, transposed_values = room_to_transpose(channels, tokens), room_to_transpose(values.shape[3], tokens)
    sizes, factors, common = np.empty(8, np.int64), np.empty(2, np.float32), np.empty(rows, np.float32)
    scores, slopes = np.empty((rows, KEYS), np.float32), np.empty((rows, KEYS), np.float32)
    divided = np.empty((rows, values.shape[3]), np.float32)
    for b in range(batch):
        for h in range(heads):
            q, k, v, y, n = queries[b, h], keys[b, h], values[b, h], mixed[b, h], totals[b, h]
            dq, dk, dv = query_grads[b, h], key_grads[b, h], value_grads[b, h]
            transpose(k, transposed_keys)
            transpose(v, transposed_values)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                g = divided[: end - row]
                for i in range(end - row):
                    inverse, total = ONE / n[row + i], ZERO
                    for d in range(g.shape[1]):
                        number = grads[b, h, row + i, d] * inverse
                        g[i, d] = number
                        total += number * y[row + i, d]
                    common[i] = total
                for key in range(0, end, KEYS):
                    last = min(key + KEYS, end)
                    z, dz = scores[: end - row, : last - key], slopes[: end - row, : last - key]
                    product(q[row:end], transposed_keys[:, key:last], scale, ZERO, z, sizes, factors)
                    product(g, transposed_values[:, key:last], ONE, ZERO, dz, sizes, factors)
                    for i in range(end - row):
                        allowed = min(max(row + i + 1 - key, 0), last - key)
                        weights, derivatives, shared = z[i], dz[i], common[i]
                        for j in range(allowed):
                            x = weights[j]
                            share = ONE / (ONE + x * x)
                            slope = x * share
                            weights[j] = x * slope
                            derivatives[j] = (derivatives[j] - shared) * share * slope
                        for j in range(allowed, last - key):
                            weights[j] = derivatives[j] = ZERO
                    product(z.T, g, ONE, ONE, dv[key:last], sizes, factors)
                    product(dz.T, q[row:end], TWO * scale, ONE, dk[key:last], sizes, factors)
                    product(dz, k[key:last], TWO * scale, ZERO if key == 0 else ONE, dq[row:end], sizes, factors)
