"""2-simplicial attention by compiled loops, all pairs of a few queries at a time.

    r_in = q_i k'_(i-n),   p_inj = softmax_{n,j}(scale r_in.k_j),   y_i = sum_n v'_(i-n) sum_j p_inj v_j

A query and one of its nearest second keys are one row of a block, a *reader*; its softmax spans several rows.

    h_in = g_i v'_(i-n),   ds = p (h V^T - sum p h V^T),   dv'_(i-n) += g_i (p V)_in,   dr = scale ds K

Letters  B batch, H heads, T queries and keys, N nearest second keys, C channels per head, M readers of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, ZERO, exponential, largest, product, room_to_transpose
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Integers, Numbers, compiled, in_threads, loop, rows_of
from attnlab.attention.ops.small_transposes import transpose
from attnlab.attention.ops.tiles import empty_like_heads

READERS = 128
"""Readers of a block, at most, but all of one query."""


@final
@dataclass(frozen=True)
class SimplicialLoops:
    """The weighted sums of pairs of values; of queries, keys, second keys, second values and values."""

    near: int
    """N."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute the weighted sums.

        Args:
            *tensors: Queries, keys, second keys, second values and values, B x H x T x C.

        Returns:
            B x H x T x C.
        """
        queries, values = tensors[0], tensors[-1]
        mixed = empty_like_heads(values)
        arrays = [*map(rows_of, (*tensors, mixed))]
        in_threads(_forward, arrays, self.near * queries.numel() * queries.shape[-2], *self._numbers(queries))
        return mixed

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients of all five.

        Args:
            tensors: As in ``forward``.
            result: What it returned.
            grad: The gradient of the result.

        Returns:
            One of the shape of each tensor.
        """
        queries = tensors[0]
        results = tuple(empty_like_heads(one).zero_() for one in tensors)
        arrays = [*map(rows_of, (*tensors, grad, *results))]
        in_threads(_backward, arrays, 3 * self.near * queries.numel() * queries.shape[-2], *self._numbers(queries))
        return results

    def _numbers(self, queries: Tensor) -> tuple[np.float32, int]:
        """The factor on the products, and N."""
        return np.float32(1 / math.sqrt(queries.shape[-1])), self.near


@compiled
def _pair(ones: Numbers, others: Numbers, near: int, row: int, end: int, out: Numbers, starts: Integers) -> int:
    """Write the products of each row with the rows right before it, its own first, and count them."""
    count = 0
    for i in range(row, end):
        starts[i - row] = count
        for n in range(min(near, i + 1)):
            for c in range(ones.shape[1]):
                out[count, c] = ones[i, c] * others[i - n, c]
            count += 1
    starts[end - row] = count
    return count


@compiled
def _softmax(scores: Numbers, first: int, last: int, allowed: int, end: int) -> None:
    """Replace the scores of one query's readers by their softmax."""
    most, total = largest(scores[first], allowed), ZERO
    for m in range(first + 1, last):
        one = largest(scores[m], allowed)
        most = most if most > one else one
    for m in range(first, last):
        weights = scores[m]
        for j in range(allowed):
            one = exponential(weights[j] - most)
            weights[j] = one
            total += one
    inverse = ONE / total
    for m in range(first, last):
        weights = scores[m]
        for j in range(allowed):
            weights[j] *= inverse
        for j in range(allowed, end):
            weights[j] = ZERO


@loop(f"void({', '.join([FOUR] * 6)}, float32, int64)")
def _forward(
    queries: Numbers,
    keys: Numbers,
    second_keys: Numbers,
    second_values: Numbers,
    values: Numbers,
    mixed: Numbers,
    scale: np.float32,
    near: int,
) -> None:
    """Fill ``mixed``."""
    batch, heads, tokens, channels = queries.shape
    size = values.shape[3]
    near = min(near, tokens)
    rows = max(1, READERS // near)
    starts = np.empty(rows + 1, np.int64)
    scores, readers = np.empty((rows * near, tokens), np.float32), np.empty((rows * near, channels), np.float32)
    sums, total = np.empty((rows * near, size), np.float32), np.empty(size, np.float32)
    q, other = np.empty((tokens, channels), np.float32), np.empty((tokens, channels), np.float32)
    second, transposed_keys = np.empty((tokens, size), np.float32), room_to_transpose(channels, tokens)
    for b in range(batch):
        for h in range(heads):
            k, v, y = keys[b, h], values[b, h], mixed[b, h]
            transpose(k, transposed_keys)
            q[:], other[:], second[:] = queries[b, h], second_keys[b, h], second_values[b, h]
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = _pair(q, other, near, row, end, readers, starts)
                product(readers[:count], transposed_keys[:, :end], scale, ZERO, scores[:count, :end])
                for i in range(end - row):
                    _softmax(scores, starts[i], starts[i + 1], row + i + 1, end)
                product(scores[:count, :end], v[:end], ONE, ZERO, sums[:count])
                for i in range(end - row):
                    total[:] = ZERO
                    for n in range(starts[i + 1] - starts[i]):
                        for d in range(size):
                            total[d] += sums[starts[i] + n, d] * second[row + i - n, d]
                    for d in range(size):
                        y[row + i, d] = total[d]


@compiled
def _add_to_own(grads: Numbers, others: Numbers, starts: Integers, row: int, end: int, own_grads: Numbers) -> None:
    """Add the gradients of the first factors of what :func:`_pair` has multiplied."""
    for i in range(row, end):
        for n in range(starts[i - row + 1] - starts[i - row]):
            m = starts[i - row] + n
            for c in range(others.shape[1]):
                own_grads[i, c] += grads[m, c] * others[i - n, c]


@compiled
def _add_to_others(grads: Numbers, ones: Numbers, starts: Integers, row: int, end: int, other_grads: Numbers) -> None:
    """Add the gradients of the second factors, those of the rows right before."""
    for i in range(row, end):
        for n in range(starts[i - row + 1] - starts[i - row]):
            m = starts[i - row] + n
            for c in range(ones.shape[1]):
                other_grads[i - n, c] += grads[m, c] * ones[i, c]


@loop(f"void({', '.join([FOUR] * 11)}, float32, int64)")
def _backward(
    queries: Numbers,
    keys: Numbers,
    second_keys: Numbers,
    second_values: Numbers,
    values: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    second_key_grads: Numbers,
    second_value_grads: Numbers,
    value_grads: Numbers,
    scale: np.float32,
    near: int,
) -> None:
    """Fill the gradients of queries, second keys and second values, and add to those of keys and values."""
    batch, heads, tokens, channels = queries.shape
    size = values.shape[3]
    near = min(near, tokens)
    rows = max(1, READERS // near)
    most = rows * near
    starts = np.empty(rows + 1, np.int64)
    scores, slopes = np.empty((most, tokens), np.float32), np.empty((most, tokens), np.float32)
    readers, pulled = np.empty((most, channels), np.float32), np.empty((most, channels), np.float32)
    spread, sums = np.empty((most, size), np.float32), np.empty((most, size), np.float32)
    q, other = np.empty((tokens, channels), np.float32), np.empty((tokens, channels), np.float32)
    dq, dother = np.empty((tokens, channels), np.float32), np.empty((tokens, channels), np.float32)
    g, second = np.empty((tokens, size), np.float32), np.empty((tokens, size), np.float32)
    dsecond = np.empty((tokens, size), np.float32)
    transposed_keys, transposed_values = room_to_transpose(channels, tokens), room_to_transpose(size, tokens)
    for b in range(batch):
        for h in range(heads):
            k, v, dk, dv = keys[b, h], values[b, h], key_grads[b, h], value_grads[b, h]
            transpose(k, transposed_keys)
            transpose(v, transposed_values)
            q[:], other[:], second[:], g[:] = queries[b, h], second_keys[b, h], second_values[b, h], grads[b, h]
            dq[:], dother[:], dsecond[:] = ZERO, ZERO, ZERO
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = _pair(q, other, near, row, end, readers, starts)
                _pair(g, second, near, row, end, spread, starts)
                product(readers[:count], transposed_keys[:, :end], scale, ZERO, scores[:count, :end])
                product(spread[:count], transposed_values[:, :end], ONE, ZERO, slopes[:count, :end])
                for i in range(end - row):
                    shared, allowed = ZERO, row + i + 1
                    _softmax(scores, starts[i], starts[i + 1], allowed, end)
                    for m in range(starts[i], starts[i + 1]):
                        weights, ds = scores[m], slopes[m]
                        for j in range(allowed):
                            shared += weights[j] * ds[j]
                    for m in range(starts[i], starts[i + 1]):
                        weights, ds = scores[m], slopes[m]
                        for j in range(allowed):
                            ds[j] = weights[j] * (ds[j] - shared)
                        for j in range(allowed, end):
                            ds[j] = ZERO
                heights, leans = scores[:count, :end], slopes[:count, :end]
                product(heights.T, spread[:count], ONE, ONE, dv[:end])
                product(heights, v[:end], ONE, ZERO, sums[:count])
                _add_to_others(sums, g, starts, row, end, dsecond)
                product(leans.T, readers[:count], scale, ONE, dk[:end])
                product(leans, k[:end], scale, ZERO, pulled[:count])
                _add_to_own(pulled, other, starts, row, end, dq)
                _add_to_others(pulled, q, starts, row, end, dother)
            query_grads[b, h], second_key_grads[b, h], second_value_grads[b, h] = dq, dother, dsecond
