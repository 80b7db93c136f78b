"""Causal softmax attention by compiled loops, a block of rows at a time, with a bias on the scores or without.

    y_i = sum_j p_ij v_j,   p_ij = e_ij / n_i,   e_ij = exp(s_ij - m_i),   s_ij = q_i.k_j / sqrt(C) + b_ij
    ds_ij = e_ij (g_i.v_j - g_i.y_i) / n_i

over the keys j up to the query, m the largest score of a row and n the sum of its e. A block of rows holds the scores
of all keys up to its last query, and memory is linear in the length but for that of the bias. The backward pass
computes each block again. Sequences may share a bias; its gradient is then summed over them.

Letters  B batch, N biases, each of B / N sequences that follow each other, H heads, T queries, S keys, C channels per
         head of queries and keys, D of values, R rows of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from attnlab.attention.ops.loop_math import (
    FOUR,
    ONE,
    VECTOR,
    ZERO,
    block,
    exponential,
    largest,
    product,
    room_to_transpose,
)
from attnlab.attention.ops.loop_memory import row_of
from attnlab.attention.ops.loops import Numbers, called, in_threads, loop, rows_of
from attnlab.attention.ops.small_transposes import transpose
from attnlab.attention.ops.tiles import empty_like_heads

LATER = np.float32(-np.inf)
"""Score of a later key."""


def forward(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, start: int) -> Tensor:
    """Compute the weighted sums.

    Args:
        queries: B x H x T x C, as :func:`attnlab.attention.ops.loops.usable` demands.
        keys: B x H x S x C.
        values: B x H x S x D.
        bias: N x H x T x S, added to the scores.
        start: Position of the first query among the keys.

    Returns:
        B x H x T x D.
    """
    mixed = empty_like_heads(values[:, :, : queries.shape[-2]])
    arrays = [*map(rows_of, (queries, keys, values, mixed, _or_nothing(bias)))]
    _call(_forward, arrays, queries, keys, start, bias)
    return mixed


def backward(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    mixed: Tensor,
    grad: Tensor,
    start: int,
    learned: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Compute the gradients.

    Args:
        queries: B x H x T x C.
        keys: B x H x S x C.
        values: B x H x S x D.
        bias: N x H x T x S.
        mixed: The weighted sums, B x H x T x D.
        grad: Their gradient, B x H x T x D.
        start: Position of the first query among the keys.
        learned: Whether the gradient of the bias is computed.

    Returns:
        Those of queries, keys and values, and of the bias, N x H x T x S; None where it is not computed.
    """
    results = empty_like_heads(queries), empty_like_heads(keys), empty_like_heads(values)
    for one in results[1:]:
        one[:, :, start + queries.shape[-2] :] = 0  # keys that no query may see
    slopes = None if bias is None or not learned else torch.zeros_like(bias, memory_format=torch.contiguous_format)
    arrays = [*map(rows_of, (queries, keys, values, mixed, grad, *results, _or_nothing(bias), _or_nothing(slopes)))]
    _call(_backward, arrays, queries, keys, start, bias, int(slopes is not None))
    return *results, slopes


def _or_nothing(bias: Tensor | None) -> Tensor:
    """The bias, or in place of none one number, which the loops do not read."""
    return torch.zeros(1, 1, 1, 1) if bias is None else bias


@called("void(float32[:, ::1], int64, float32[::1])")
def exponentials(scores: Numbers, first: int, totals: Numbers) -> None:
    """Replace scores by their exponential over that of the largest one of their row.

    Args:
        scores: A block.
        first: Position of its first query: how many keys before its own it may see.
        totals: R; the sum of each row is written to it.
    """
    width = scores.shape[1]
    for i in range(len(scores)):
        row, total = row_of(scores, i), ZERO
        for j in range(first + i + 1, width):
            row[j] = LATER
        most = largest(row, width)
        for j in range(width):
            one = exponential(row[j] - most)
            row[j] = one
            total += one
        totals[i] = total


@called("void(float32[:, :], int64, float32[:, ::1], int64)")
def add_rows(bias: Numbers, first: int, scores: Numbers, columns: int) -> None:
    """Add rows of a bias to scores.

    Args:
        bias: T x S.
        first: The first of the rows.
        scores: A block.
        columns: How many are added.
    """
    for i in range(len(scores)):
        row, added = row_of(scores, i), row_of(bias, first + i)
        for j in range(columns):
            row[j] += added[j]


@called("void(float32[:, ::1], int64)")
def clear_after(numbers: Numbers, columns: int) -> None:
    """Set what is beyond the last column to zero: memory that no product has written may be NaN.

    Args:
        numbers: A block.
        columns: How many hold numbers.
    """
    for i in range(len(numbers)):
        row = row_of(numbers, i)
        for j in range(columns, len(row)):
            row[j] = ZERO


@called("void(float32[:, :], float32[:, :], int64, int64)")
def add_block(numbers: Numbers, total: Numbers, first: int, columns: int) -> None:
    """Add a block to rows of a matrix.

    Args:
        numbers: R x S of them.
        total: T x at least S.
        first: The first of the rows that are added to.
        columns: How many are added.
    """
    for i in range(len(numbers)):
        row, sums = row_of(numbers, i), row_of(total, first + i)
        for j in range(columns):
            sums[j] += row[j]


def _call(
    function: Callable[..., None],
    arrays: list[Numbers],
    queries: Tensor,
    keys: Tensor,
    start: int,
    bias: Tensor | None,
    *learned: int,
) -> None:
    """Call a loop in threads; those of a bias take heads, as the sequences of a batch share one."""
    multiplications = queries.numel() * keys.shape[-2]
    numbers = np.float32(1 / math.sqrt(queries.shape[-1])), start, _rows(keys.shape[-2]), int(bias is not None)
    in_threads(function, arrays, multiplications, *numbers, *learned, axis=None if bias is None else 1)


def _rows(keys: int) -> int:
    """Queries of a block: few where keys are few, as later ones are left out, or many, as a cache holds no more."""
    return 32 if 64 < keys <= 2048 else 16


@loop(f"void({', '.join([FOUR] * 5)}, float32, int64, int64, int64)")
def _forward(
    queries: Numbers,
    keys: Numbers,
    values: Numbers,
    mixed: Numbers,
    bias: Numbers,
    scale: np.float32,
    start: int,
    rows: int,
    biased: int,
) -> None:
    """Fill ``mixed``."""
    batch, heads, tokens, channels = queries.shape
    scores, totals = np.empty(rows * (keys.shape[2] + VECTOR), np.float32), np.empty(rows, np.float32)
    transposed_keys = room_to_transpose(channels, keys.shape[2])
    for b in range(batch):
        for h in range(heads):
            q, k, v, y = queries[b, h], keys[b, h], values[b, h], mixed[b, h]
            transpose(k, transposed_keys)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                seen = start + end
                z = block(scores, end - row, seen)
                product(q[row:end], transposed_keys[:, :seen], scale, ZERO, z[:, :seen])
                add_rows(bias[b * len(bias) // batch, h], row, z, seen * biased)
                exponentials(z, start + row, totals)
                product(z[:, :seen], v[:seen], ONE, ZERO, y[row:end])
                for i in range(end - row):
                    inverse, sums = ONE / totals[i], row_of(y, row + i)
                    for d in range(len(sums)):
                        sums[d] *= inverse


@loop(f"void({', '.join([FOUR] * 10)}, float32, int64, int64, int64, int64)")
def _backward(
    queries: Numbers,
    keys: Numbers,
    values: Numbers,
    mixed: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    value_grads: Numbers,
    bias: Numbers,
    bias_grads: Numbers,
    scale: np.float32,
    start: int,
    rows: int,
    biased: int,
    learned: int,
) -> None:
    """Fill the gradients but that of the bias, which is added to.

    What is common to a row is one more channel of the gradients, minus one times one of the values.
    """
    batch, heads, tokens, channels = queries.shape
    inner, all_keys = values.shape[3], keys.shape[2]
    scores, slopes = (
        np.empty(rows * (all_keys + VECTOR), np.float32),
        np.empty(rows * (all_keys + VECTOR), np.float32),
    )
    transposed_keys, transposed_values = room_to_transpose(channels, all_keys), room_to_transpose(inner + 1, all_keys)
    divided, totals = np.empty((rows, inner + 1), np.float32), np.empty(rows, np.float32)
    for b in range(batch):
        for h in range(heads):
            q, k, v, y, g = queries[b, h], keys[b, h], values[b, h], mixed[b, h], grads[b, h]
            dq, dk, dv = query_grads[b, h], key_grads[b, h], value_grads[b, h]
            transpose(k, transposed_keys)
            transpose(v, transposed_values[:inner])
            transposed_values[inner, :] = ONE
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                seen = start + end
                z, dz, g_n = block(scores, end - row, seen), block(slopes, end - row, seen), divided[: end - row]
                product(q[row:end], transposed_keys[:, :seen], scale, ZERO, z[:, :seen])
                add_rows(bias[b * len(bias) // batch, h], row, z, seen * biased)
                exponentials(z, start + row, totals)
                for i in range(end - row):
                    inverse, total = ONE / totals[i], ZERO
                    one, sums, numbers = row_of(g, row + i), row_of(y, row + i), row_of(g_n, i)
                    for d in range(inner):
                        numbers[d] = one[d] * inverse
                        total += one[d] * sums[d]
                    numbers[inner] = -total * inverse
                product(g_n, transposed_values[:, :seen], ONE, ZERO, dz[:, :seen])
                clear_after(dz, seen)
                weights, derivatives = z.reshape(z.size), dz.reshape(dz.size)
                for place in range(len(weights)):
                    derivatives[place] *= weights[place]
                z, dz = z[:, :seen], dz[:, :seen]
                add_block(dz, bias_grads[b * len(bias_grads) // batch, h], row, seen * learned)
                earlier = start + row if row > 0 else 0  # keys whose gradients have been written to
                if earlier > 0:
                    product(z[:, :earlier].T, g_n[:, :inner], ONE, ONE, dv[:earlier])
                    product(dz[:, :earlier].T, q[row:end], scale, ONE, dk[:earlier])
                product(z[:, earlier:].T, g_n[:, :inner], ONE, ZERO, dv[earlier:seen])
                product(dz[:, earlier:].T, q[row:end], scale, ZERO, dk[earlier:seen])
                product(dz, k[:seen], scale, ZERO, dq[row:end])
