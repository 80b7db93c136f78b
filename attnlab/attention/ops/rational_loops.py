"""Weighted sums of the values under ``f(z) = z^2 / (1 + z^2)`` by compiled loops, a block of scores at a time.

The formulas are those of :mod:`attnlab.attention.ops.rational`. A block of at most 32 x 64 scores stays in the first
cache between its products, and one pass over it makes weights, their sums, and on the way back both derivatives.
Rows whose sum loses digits are found by the caller, which then takes its own way.

Letters  B batch, H heads, T queries and keys, C channels per head of queries and keys, D of values, R rows of a block.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, THREE, TWO, ZERO, block, product, room_to_transpose
from attnlab.attention.ops.loop_memory import row_of
from attnlab.attention.ops.loops import Numbers, compiled, in_threads, loop, rows_of
from attnlab.attention.ops.small_transposes import transpose
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
    in_threads(_forward, arrays, queries.numel() * queries.shape[-2], np.float32(scale), _rows(queries))
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
    results = empty_like_heads(queries), empty_like_heads(keys), empty_like_heads(values)
    arrays = [*map(rows_of, (queries, keys, values, mixed, grad, *results)), totals[..., 0].numpy()]
    in_threads(_backward, arrays, queries.numel() * queries.shape[-2], np.float32(scale), _rows(queries))
    return results


def _rows(queries: Tensor) -> int:
    """Queries of a block: few where the sequence is short, so that blocks above the diagonal are left out."""
    return 16 if queries.shape[-2] <= KEYS else 32


@compiled
def clear(scores: Numbers, allowed: int) -> None:
    """Set the scores of later keys to zero, of which the weight is zero.

    Args:
        scores: A block.
        allowed: How many the first row may see of its keys; each further row sees one more.
    """
    columns = scores.shape[1]
    for i in range(len(scores)):
        for j in range(max(allowed + i, 0), columns):
            scores[i, j] = ZERO


@loop(f"void({FOUR}, {FOUR}, {FOUR}, {FOUR}, {THREE}, float32, int64)")
def _forward(
    queries: Numbers, keys: Numbers, values: Numbers, mixed: Numbers, totals: Numbers, scale: np.float32, rows: int
) -> None:
    """Fill ``mixed`` and ``totals``."""
    batch, heads, tokens, channels = queries.shape
    transposed_keys = room_to_transpose(channels, tokens)
    scores = np.empty(rows * KEYS, np.float32)
    for b in range(batch):
        for h in range(heads):
            q, k, v, y, n = queries[b, h], keys[b, h], values[b, h], mixed[b, h], totals[b, h]
            transpose(k, transposed_keys)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                for key in range(0, end, KEYS):
                    last = min(key + KEYS, end)
                    z = block(scores, end - row, last - key)
                    product(q[row:end], transposed_keys[:, key:last], scale, ZERO, z[:, : last - key])
                    clear(z, row + 1 - key)
                    weights = z.reshape(z.size)
                    for place in range(len(weights)):
                        square = weights[place] * weights[place]
                        weights[place] = square / (ONE + square)
                    for i in range(end - row):
                        total, numbers = ZERO, z[i]
                        for j in range(len(numbers)):
                            total += numbers[j]
                        n[row + i] = total if key == 0 else n[row + i] + total
                    product(z[:, : last - key], v[key:last], ONE, ZERO if key == 0 else ONE, y[row:end])
                for i in range(row, end):
                    inverse, sums = ONE / n[i], row_of(y, i)
                    for d in range(len(sums)):
                        sums[d] *= inverse
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
    """Fill the gradients.

    What is common to a row is one more channel of the gradients, minus one times one of the values.
    """
    batch, heads, tokens, channels = queries.shape
    inner = values.shape[3]
    transposed_keys, transposed_values = room_to_transpose(channels, tokens), room_to_transpose(inner + 1, tokens)
    scores, slopes = np.empty(rows * KEYS, np.float32), np.empty(rows * KEYS, np.float32)
    divided = np.empty((rows, inner + 1), np.float32)
    for b in range(batch):
        for h in range(heads):
            q, k, v, y, n = queries[b, h], keys[b, h], values[b, h], mixed[b, h], totals[b, h]
            dq, dk, dv = query_grads[b, h], key_grads[b, h], value_grads[b, h]
            transpose(k, transposed_keys)
            transpose(v, transposed_values[:inner])
            transposed_values[inner, :] = ONE
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                g = divided[: end - row]
                for i in range(end - row):
                    inverse, total = ONE / n[row + i], ZERO
                    one, sums, numbers = row_of(grads[b, h], row + i), row_of(y, row + i), g[i]
                    for d in range(inner):
                        numbers[d] = one[d] * inverse
                        total += one[d] * sums[d]
                    numbers[inner] = -total * inverse
                for key in range(0, end, KEYS):
                    last = min(key + KEYS, end)
                    z, dz = block(scores, end - row, last - key), block(slopes, end - row, last - key)
                    product(q[row:end], transposed_keys[:, key:last], scale, ZERO, z[:, : last - key])
                    product(g, transposed_values[:, key:last], ONE, ZERO, dz[:, : last - key])
                    clear(z, row + 1 - key)
                    clear(dz, row + 1 - key)
                    if row == key == 0:
                        dz[0, 0] = ZERO  # a single weight is one whatever its score is
                    weights, derivatives = z.reshape(z.size), dz.reshape(dz.size)
                    for place in range(len(weights)):
                        x = weights[place]
                        share = ONE / (ONE + x * x)
                        slope = x * share
                        weights[place] = x * slope
                        derivatives[place] *= share * slope
                    z, dz = z[:, : last - key], dz[:, : last - key]
                    new = min(max(row - key, 0), last - key)  # keys before it have gradients of earlier rows
                    if new > 0:
                        product(z[:, :new].T, g[:, :inner], ONE, ONE, dv[key : key + new])
                        product(dz[:, :new].T, q[row:end], TWO * scale, ONE, dk[key : key + new])
                    if key + new < last:
                        product(z[:, new:].T, g[:, :inner], ONE, ZERO, dv[key + new : last])
                        product(dz[:, new:].T, q[row:end], TWO * scale, ZERO, dk[key + new : last])
                    product(dz, k[key:last], TWO * scale, ZERO if key == 0 else ONE, dq[row:end])
