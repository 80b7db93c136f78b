"""Softmax attention whose scores decay channel by channel, by compiled loops, a block of rows at a time.

    s_ij = scale sum_c q_ic k_jc a_(j+1),c ... a_ic,   a = exp(g)

The product of the a splits at the first row of a block: queries have the part from there, earlier keys the part before.
Both are products of numbers up to 1, updated from block to block; so are those within a block, pair by pair. The
derivative in g_t is the sum over all pairs i >= t > j of ``ds_ij`` times the term of the channel.

Letters  B batch, H heads, T queries and keys, C channels per head of queries and keys, D of values, R rows of a block.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, ZERO, exponential, product, room_to_transpose, softmax_row
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Numbers, compiled, in_threads, loop, rows_of
from attnlab.attention.ops.small_transposes import transpose
from attnlab.attention.ops.tiles import empty_like_heads

ROWS = 16
"""Most rows of a block: pairs within one are multiplied one by one."""


@final
class WallLoops:
    """The weighted sums of the values; of queries, keys, g and values."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute the weighted sums.

        Args:
            *tensors: Queries, keys, g and values, B x H x T x C.

        Returns:
            B x H x T x D.
        """
        queries, values = tensors[0], tensors[-1]
        mixed = empty_like_heads(values)
        arrays = [*map(rows_of, (*tensors, mixed))]
        in_threads(_forward, arrays, queries.numel() * queries.shape[-2], *_numbers(queries, values))
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
        queries, values = tensors[0], tensors[-1]
        *others, value_grads = (empty_like_heads(one) for one in tensors)
        arrays = [*map(rows_of, (*tensors, grad, *others, value_grads.zero_()))]
        in_threads(_backward, arrays, 3 * queries.numel() * queries.shape[-2], *_numbers(queries, values))
        return *others, value_grads


def _numbers(queries: Tensor, values: Tensor) -> tuple[np.float32, int]:
    """The factor on the products, and the rows of a block."""
    return np.float32(1 / math.sqrt(queries.shape[-1])), ROWS


@compiled
def _cut(
    keys: Numbers, gates: Numbers, decays: Numbers, kept: Numbers, decayed: Numbers, before: int, row: int
) -> None:
    """Move the cut from the row ``before`` to ``row``: ``kept`` is the product of a between key and cut.

    Of a whole block it is the exponential of a sum: a product of rounded a would lose digits with each token.
    """
    channels = keys.shape[1]
    whole = kept[row]  # not yet used
    for c in range(channels):
        whole[c] = ONE
    for j in range(row - 1, before - 1, -1):
        for c in range(channels):
            kept[j, c] = whole[c]
            decayed[j, c] = keys[j, c] * whole[c]
            whole[c] *= gates[j, c]
    if before == 0:
        return
    for c in range(channels):
        total = ZERO
        for j in range(before, row):
            total += decays[j, c]
        whole[c] = exponential(total)
    for j in range(before):
        for c in range(channels):
            kept[j, c] *= whole[c]
            decayed[j, c] *= whole[c]


@compiled
def _since(queries: Numbers, gates: Numbers, reached: Numbers, decayed: Numbers, row: int, end: int) -> None:
    """Fill the products of a from the cut to each row of a block, and with them the queries."""
    channels = queries.shape[1]
    for i in range(row, end):
        for c in range(channels):
            gate = gates[i, c] if i == row else reached[i - row - 1, c] * gates[i, c]
            reached[i - row, c] = gate
            decayed[i - row, c] = queries[i, c] * gate


@compiled
def _within(
    queries: Numbers,
    keys: Numbers,
    gates: Numbers,
    scores: Numbers,
    held: Numbers,
    scale: np.float32,
    row: int,
    end: int,
) -> None:
    """Fill the scores of the pairs within a block."""
    channels = queries.shape[1]
    for j in range(row, end):
        for c in range(channels):
            held[c] = keys[j, c] * scale
        for i in range(j, end):
            total = ZERO
            if i > j:
                for c in range(channels):
                    held[c] *= gates[i, c]
            for c in range(channels):
                total += queries[i, c] * held[c]
            scores[i - row, j] = total


@loop(f"void({', '.join([FOUR] * 5)}, float32, int64)")
def _forward(
    queries: Numbers,
    keys: Numbers,
    decays: Numbers,
    values: Numbers,
    mixed: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill ``mixed``."""
    batch, heads, tokens, channels = queries.shape
    scores, held = np.empty((rows, tokens), np.float32), np.empty(channels, np.float32)
    size = tokens + 1, channels
    q, k, a = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    kept, distant = np.empty(size, np.float32), np.empty(size, np.float32)
    reached, late = np.empty((rows, channels), np.float32), np.empty((rows, channels), np.float32)
    for b in range(batch):
        for h in range(heads):
            v, y = values[b, h], mixed[b, h]
            for i in range(tokens):
                for c in range(channels):
                    q[i, c], k[i, c], a[i, c] = queries[b, h, i, c], keys[b, h, i, c], decays[b, h, i, c]
                for c in range(channels):
                    a[i, c] = exponential(a[i, c])
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = end - row
                if row > 0:
                    _cut(k, a, decays[b, h], kept, distant, row - rows, row)
                    _since(q, a, reached, late, row, end)
                    product(late[:count], distant[:row].T, scale, ZERO, scores[:count, :row])
                _within(q, k, a, scores, held, scale, row, end)
                for i in range(count):
                    softmax_row(scores[i], row + i + 1)
                    for j in range(row + i + 1, end):
                        scores[i, j] = ZERO
                product(scores[:count, :end], v[:end], ONE, ZERO, y[row:end])


@compiled
def _within_backward(
    queries: Numbers,
    keys: Numbers,
    gates: Numbers,
    slopes: Numbers,
    scale: np.float32,
    query_grads: Numbers,
    key_grads: Numbers,
    decay_grads: Numbers,
    held: Numbers,
    terms: Numbers,
    row: int,
    end: int,
) -> None:
    """Add the gradients of the scores of pairs within a block."""
    channels = queries.shape[1]
    for j in range(row, end):
        slope = scale * slopes[j - row, j]
        for c in range(channels):
            query_grads[j, c] += slope * keys[j, c]
            key_grads[j, c] += slope * queries[j, c]
            held[c] = ONE
        for i in range(j + 1, end):
            slope = scale * slopes[i - row, j]
            for c in range(channels):
                one = held[c] * gates[i, c]
                held[c] = one
                one *= slope
                terms[i - row, c] = one * queries[i, c]
                query_grads[i, c] += one * keys[j, c]
        for c in range(channels):
            held[c] = ZERO
        for i in range(end - 1, j, -1):
            for c in range(channels):
                one = held[c] + terms[i - row, c]
                held[c] = one
                decay_grads[i, c] += one * keys[j, c]
        for c in range(channels):
            key_grads[j, c] += held[c]


@loop(f"void({', '.join([FOUR] * 9)}, float32, int64)")
def _backward(
    queries: Numbers,
    keys: Numbers,
    decays: Numbers,
    values: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    decay_grads: Numbers,
    value_grads: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill the gradients of queries, keys and g, and add to those of values."""
    batch, heads, tokens, channels = queries.shape
    scores, slopes = np.empty((rows, tokens), np.float32), np.empty((rows, tokens), np.float32)
    size, part = (tokens + 1, channels), (rows, channels)
    q, k, a = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    dq, dk, dg = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    kept, distant, pulled = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    reached, late, read = np.empty(part, np.float32), np.empty(part, np.float32), np.empty(part, np.float32)
    held, transposed_values = np.empty(channels, np.float32), room_to_transpose(values.shape[3], tokens)
    for b in range(batch):
        for h in range(heads):
            v, g, dv = values[b, h], grads[b, h], value_grads[b, h]
            transpose(v, transposed_values)
            for i in range(tokens):
                for c in range(channels):
                    q[i, c], k[i, c], a[i, c] = queries[b, h, i, c], keys[b, h, i, c], decays[b, h, i, c]
                for c in range(channels):
                    a[i, c] = exponential(a[i, c])
                    dq[i, c] = dk[i, c] = dg[i, c] = ZERO
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = end - row
                if row > 0:
                    _cut(k, a, decays[b, h], kept, distant, row - rows, row)
                    _since(q, a, reached, late, row, end)
                    product(late[:count], distant[:row].T, scale, ZERO, scores[:count, :row])
                _within(q, k, a, scores, held, scale, row, end)
                product(g[row:end], transposed_values[:, :end], ONE, ZERO, slopes[:count, :end])
                for i in range(count):
                    allowed, weights, ds = row + i + 1, scores[i], slopes[i]
                    softmax_row(weights, allowed)
                    shared = ZERO
                    for j in range(allowed):
                        shared += weights[j] * ds[j]
                    for j in range(allowed):
                        ds[j] = weights[j] * (ds[j] - shared)
                    for j in range(allowed, end):
                        weights[j] = ds[j] = ZERO
                product(scores[:count, :end].T, g[row:end], ONE, ONE, dv[:end])
                if row > 0:
                    product(slopes[:count, :row], distant[:row], scale, ZERO, read[:count])
                    product(slopes[:count, :row].T, late[:count], scale, ZERO, pulled[:row])
                    for c in range(channels):
                        held[c] = ZERO
                    for i in range(count - 1, -1, -1):
                        for c in range(channels):
                            one = held[c] + late[i, c] * read[i, c]
                            held[c] = one
                            dg[row + i, c] += one
                            dq[row + i, c] += reached[i, c] * read[i, c]
                    for c in range(channels):
                        held[c] = ZERO
                    for j in range(row):
                        for c in range(channels):
                            one = held[c]
                            dg[j, c] += one
                            held[c] = one + distant[j, c] * pulled[j, c]
                            dk[j, c] += kept[j, c] * pulled[j, c]
                _within_backward(q, k, a, slopes, scale, dq, dk, dg, held, read, row, end)
            for i in range(tokens):
                for c in range(channels):
                    query_grads[b, h, i, c], key_grads[b, h, i, c] = dq[i, c], dk[i, c]
                    decay_grads[b, h, i, c] = dg[i, c]
