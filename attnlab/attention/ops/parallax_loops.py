"""Parallax by compiled loops: softmax weights times ``1 + E - r.k``, a block of rows at a time.

    A_ij = p_ij (1 + E_i - t_ij),   E_i = sum_j p_ij t_ij,   t_ij = r_i.k_j,   y_i = sum_j A_ij v_j

    c = g V^T,   m_i = sum_j p_ij c_ij,   dt = p (m - c),   dp = c (1 + E - t) + m t
    ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij)

Letters  B batch, H heads, T queries and keys, C channels per head, D of values.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, ROWS, ZERO, product, room_to_transpose, softmax_row
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Numbers, in_threads, loop, rows_of
from attnlab.attention.ops.small_transposes import transpose
from attnlab.attention.ops.tiles import empty_like_heads


@final
class ParallaxLoops:
    """The weighted sums of the values; of queries, keys, second queries and values."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute the weighted sums.

        Args:
            *tensors: Queries, keys, second queries and values, B x H x T x C.

        Returns:
            B x H x T x D.
        """
        queries, _, _, values = tensors
        mixed = empty_like_heads(values)
        arrays = [*map(rows_of, (*tensors, mixed))]
        numbers = np.float32(1 / math.sqrt(queries.shape[-1])), ROWS
        in_threads(_forward, arrays, 2 * queries.numel() * queries.shape[-2], *numbers)
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
        queries, keys, slopes, values = tensors
        results = (
            empty_like_heads(queries),
            empty_like_heads(keys).zero_(),
            empty_like_heads(slopes),
            empty_like_heads(values).zero_(),
        )
        arrays = [*map(rows_of, (*tensors, grad, *results))]
        numbers = np.float32(1 / math.sqrt(queries.shape[-1])), ROWS
        in_threads(_backward, arrays, 4 * queries.numel() * queries.shape[-2], *numbers)
        return results


@loop(f"void({', '.join([FOUR] * 5)}, float32, int64)")
def _forward(
    queries: Numbers,
    keys: Numbers,
    slopes: Numbers,
    values: Numbers,
    mixed: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill ``mixed``."""
    batch, heads, tokens, channels = queries.shape
    scores, products = np.empty((rows, tokens), np.float32), np.empty((rows, tokens), np.float32)
    transposed_keys = room_to_transpose(channels, tokens)
    for b in range(batch):
        for h in range(heads):
            q, k, r, v, y = queries[b, h], keys[b, h], slopes[b, h], values[b, h], mixed[b, h]
            transpose(k, transposed_keys)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = end - row
                product(q[row:end], transposed_keys[:, :end], scale, ZERO, scores[:count, :end])
                product(r[row:end], transposed_keys[:, :end], ONE, ZERO, products[:count, :end])
                for i in range(count):
                    allowed, weights, t, mean = row + i + 1, scores[i], products[i], ZERO
                    softmax_row(weights, allowed)
                    for j in range(allowed):
                        mean += weights[j] * t[j]
                    mean += ONE
                    for j in range(allowed):
                        weights[j] *= mean - t[j]
                    for j in range(allowed, end):
                        weights[j] = ZERO
                product(scores[:count, :end], v[:end], ONE, ZERO, y[row:end])


@loop(f"void({', '.join([FOUR] * 9)}, float32, int64)")
def _backward(
    queries: Numbers,
    keys: Numbers,
    slopes: Numbers,
    values: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    slope_grads: Numbers,
    value_grads: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill the gradients of queries and second queries, and add to those of keys and values."""
    batch, heads, tokens, channels = queries.shape
    scores, products = np.empty((rows, tokens), np.float32), np.empty((rows, tokens), np.float32)
    slants = np.empty((rows, tokens), np.float32)
    transposed_keys, transposed_values = room_to_transpose(channels, tokens), room_to_transpose(values.shape[3], tokens)
    for b in range(batch):
        for h in range(heads):
            q, k, r, v, g = queries[b, h], keys[b, h], slopes[b, h], values[b, h], grads[b, h]
            dq, dk, dr, dv = query_grads[b, h], key_grads[b, h], slope_grads[b, h], value_grads[b, h]
            transpose(k, transposed_keys)
            transpose(v, transposed_values)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = end - row
                product(q[row:end], transposed_keys[:, :end], scale, ZERO, scores[:count, :end])
                product(r[row:end], transposed_keys[:, :end], ONE, ZERO, products[:count, :end])
                product(g[row:end], transposed_values[:, :end], ONE, ZERO, slants[:count, :end])
                for i in range(count):
                    allowed, weights, t, c = row + i + 1, scores[i], products[i], slants[i]
                    mean, m, shared = ZERO, ZERO, ZERO
                    softmax_row(weights, allowed)
                    for j in range(allowed):
                        mean += weights[j] * t[j]
                        m += weights[j] * c[j]
                    mean += ONE
                    for j in range(allowed):
                        shared += weights[j] * (c[j] * (mean - t[j]) + m * t[j])
                    for j in range(allowed):
                        p, read, slant = weights[j], t[j], c[j]
                        factor = mean - read
                        weights[j] = p * factor
                        t[j] = p * (m - slant)
                        c[j] = p * (slant * factor + m * read - shared)
                    for j in range(allowed, end):
                        weights[j] = t[j] = c[j] = ZERO
                weights, t, c = scores[:count, :end], products[:count, :end], slants[:count, :end]
                product(weights.T, g[row:end], ONE, ONE, dv[:end])
                product(t.T, r[row:end], ONE, ONE, dk[:end])
                product(c.T, q[row:end], scale, ONE, dk[:end])
                product(t, k[:end], ONE, ZERO, dr[row:end])
                product(c, k[:end], scale, ZERO, dq[row:end])
