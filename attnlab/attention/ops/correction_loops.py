"""The network of :mod:`attnlab.attention.ops.correction` by compiled loops, over the visible keys of some queries.

These lie one query after another in one row, with K - 1 zeros before and between them: a tap that leaves the keys of a
query finds zeros. Operations then go over a few thousand numbers that lie side by side in the cache.

Letters  H heads, K taps, W maps of a, M maps of x.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attnlab.attention.ops.loop_math import ZERO
from attnlab.attention.ops.loops import Integers, Numbers, compiled, loop

PAIRS = 2048
"""Most pairs of a query and a key that are computed at a time; all keys of one query at least."""
SLOPE = np.float32(0.01)
"""Of a LeakyReLU below zero."""
ONE = np.float32(1)
COMMON, MEMORY = "int64[:, ::1], int64[::1], int64[:, ::1]", "float32[::1]"


class Sizes(NamedTuple):
    """Sizes of all tensors, as the loops take them."""

    heads: int
    queries: int
    keys: int
    start: int
    maps: int
    width: int
    taps: int
    after: int
    has_bias: bool
    summed: bool
    adds_bias: bool


@compiled
def _visible(query: int, sizes: Integers) -> int:
    """The keys up to a query."""
    return min(sizes[2], sizes[3] + query + 1)


@compiled
def _last(first: int, sizes: Integers) -> tuple[int, int]:
    """The query after those that are computed together with ``first``, and where their row ends."""
    pad, query = sizes[6] - 1, first
    end = pad
    while query < sizes[1] and (query == first or end + _visible(query, sizes) <= PAIRS):
        end += _visible(query, sizes) + pad
        query += 1
    return query, end


@compiled
def _longest(sizes: Integers) -> int:
    """The length of the longest row."""
    longest, first = 0, 0
    while first < sizes[1]:
        first, end = _last(first, sizes)
        longest = max(longest, end)
    return longest


@compiled
def _gather(memory: Numbers, stride: int, first: int, last: int, sizes: Integers, row: Numbers) -> None:
    """Copy the visible keys of some queries to a row whose other numbers are zero."""
    place = sizes[6] - 1
    for query in range(first, last):
        count = _visible(query, sizes)
        source, target = memory[query * stride :], row[place:]
        for j in range(count):
            target[j] = source[j]
        place += count + sizes[6] - 1


@compiled
def _scatter(row: Numbers, first: int, last: int, sizes: Integers, memory: Numbers, stride: int) -> None:
    """Copy a row to the visible keys of some queries."""
    place = sizes[6] - 1
    for query in range(first, last):
        count = _visible(query, sizes)
        source, target = row[place:], memory[query * stride :]
        for j in range(count):
            target[j] = source[j]
        place += count + sizes[6] - 1


@compiled
def _clear_between(row: Numbers, first: int, last: int, sizes: Integers) -> None:
    """Set what lies before and between the keys of the queries to zero."""
    pad, place = sizes[6] - 1, 0
    for query in range(first, last + 1):
        for j in range(place, place + pad):
            row[j] = ZERO
        place += pad + (_visible(query, sizes) if query < last else 0)


@compiled
def _add(factor: np.float32, source: Numbers, target: Numbers) -> None:
    """Add a multiple of a row to another one."""
    for j in range(len(target)):
        target[j] += factor * source[j]


@compiled
def _dot(left: Numbers, right: Numbers) -> np.float32:
    """The inner product of two rows."""
    total = ZERO
    for j in range(len(left)):
        total += left[j] * right[j]
    return total


@compiled
def _load(
    scores: Numbers, biases: Numbers, b: int, strides: Integers, first: int, last: int, sizes: Integers, x: Numbers
) -> None:
    """Fill the maps of x of some queries."""
    heads = sizes[0]
    for h in range(heads):
        _gather(scores[b * strides[0, 0] + h * strides[0, 1] :], strides[0, 2], first, last, sizes, x[h])
        if sizes[8]:
            _gather(biases[b * strides[1, 0] + h * strides[1, 1] :], strides[1, 2], first, last, sizes, x[heads + h])
            if sizes[9]:
                _add(ONE, x[heads + h], x[h])


@compiled
def _activate(
    x: Numbers, weights: Numbers, c: int, first: int, last: int, end: int, sizes: Integers, a: Numbers, slopes: Numbers
) -> None:
    """Fill a map of a, and the slope of its LeakyReLU."""
    maps, width, taps = sizes[4], sizes[5], sizes[6]
    pad, before = taps - 1, taps - 1 - sizes[7]
    inside = a[pad : end - pad]
    inside[:] = weights[width * maps * taps + c]
    for m in range(maps):
        for tap in range(taps):
            shift = pad + tap - before
            _add(weights[(c * maps + m) * taps + tap], x[m][shift : shift + len(inside)], inside)
    for j in range(len(inside)):
        slope = ONE if inside[j] > ZERO else SLOPE
        slopes[j] = slope
        inside[j] *= slope
    if pad:
        _clear_between(a, first, last, sizes)


@loop(f"void({COMMON}, {', '.join([MEMORY] * 4)})")
def forward(
    sequences: Integers,
    sizes: Integers,
    strides: Integers,
    scores: Numbers,
    biases: Numbers,
    weights: Numbers,
    results: Numbers,
) -> None:
    """Fill y of some sequences.

    Args:
        sequences: Their indices in the batch, N x 1.
        sizes: :class:`Sizes`.
        strides: The first three of each tensor, in the order in which they follow.
        scores: Memory of the scores.
        biases: Memory of the biases, or of nothing.
        weights: Memory of the weights of each sequence: W_1, b_1, W_2, b_2.
        results: Memory of y.
    """
    heads, queries, keys, _start, maps, width, taps, after, has_bias, summed, adds_bias = sizes
    longest, pad, before = _longest(sizes), taps - 1, taps - 1 - after
    x = np.zeros((heads * (2 if has_bias else 1), longest), np.float32)
    y, a, slopes = np.zeros((heads, longest), np.float32), np.zeros(longest, np.float32), np.zeros(longest, np.float32)
    for b in sequences[:, 0]:
        own = weights[b * strides[2, 0] :]
        writer = own[width * (maps * taps + 1) :]
        first = 0
        while first < queries:
            last, end = _last(first, sizes)
            x[:, :end], y[:, :end] = ZERO, ZERO
            _load(scores, biases, b, strides, first, last, sizes, x)
            for h in range(heads):
                inside = y[h][pad : end - pad]
                inside[:] = writer[heads * width * taps + h]
                _add(ONE, x[h][pad : end - pad], inside)
                if has_bias and adds_bias and not summed:
                    _add(ONE, x[heads + h][pad : end - pad], inside)
            for c in range(width):
                _activate(x, own, c, first, last, end, sizes, a, slopes)
                for h in range(heads):
                    inside = y[h][pad : end - pad]
                    for tap in range(taps):
                        shift = pad + tap - before
                        _add(writer[(h * width + c) * taps + tap], a[shift : shift + len(inside)], inside)
            for h in range(heads):
                at = b * strides[3, 0] + h * strides[3, 1]
                _scatter(y[h], first, last, sizes, results[at:], strides[3, 2])
                for query in range(first, last):
                    score = scores[b * strides[0, 0] + h * strides[0, 1] + query * strides[0, 2] :]
                    result = results[at + query * strides[3, 2] :]
                    for j in range(_visible(query, sizes), keys):
                        result[j] = score[j]
            first = last


@loop(f"void({COMMON}, {', '.join([MEMORY] * 7)})")
def backward(
    sequences: Integers,
    sizes: Integers,
    strides: Integers,
    scores: Numbers,
    biases: Numbers,
    weights: Numbers,
    grads: Numbers,
    score_grads: Numbers,
    bias_grads: Numbers,
    weight_grads: Numbers,
) -> None:
    """Fill the gradients of some sequences; those of keys after a query are zero.

    Args:
        sequences: Their indices in the batch, N x 1.
        sizes: :class:`Sizes`.
        strides: The first three of each tensor, in the order in which they follow.
        scores: Memory of the scores.
        biases: Memory of the biases, or of nothing.
        weights: Memory of the weights of each sequence: W_1, b_1, W_2, b_2.
        grads: Memory of the gradient of y.
        score_grads: Memory of that of the scores.
        bias_grads: Memory of that of the biases.
        weight_grads: Memory of that of the weights of each sequence.
    """
    heads, queries, keys, _start, maps, width, taps, after, has_bias, summed, adds_bias = sizes
    longest, pad, before = _longest(sizes), taps - 1, taps - 1 - after
    x = np.zeros((heads * (2 if has_bias else 1), longest), np.float32)
    dx, dy = np.zeros((maps, longest), np.float32), np.zeros((heads, longest), np.float32)
    a, da, slopes = np.zeros(longest, np.float32), np.zeros(longest, np.float32), np.zeros(longest, np.float32)
    reader_size = width * maps * taps
    for b in sequences[:, 0]:
        own, own_grads = weights[b * strides[2, 0] :], weight_grads[b * strides[6, 0] :]
        writer, writer_grads = own[reader_size + width :], own_grads[reader_size + width :]
        own_grads[: reader_size + width + heads * (width * taps + 1)] = ZERO
        first = 0
        while first < queries:
            last, end = _last(first, sizes)
            x[:, :end], dx[:, :end], dy[:, :end] = ZERO, ZERO, ZERO
            _load(scores, biases, b, strides, first, last, sizes, x)
            for h in range(heads):
                _gather(grads[b * strides[3, 0] + h * strides[3, 1] :], strides[3, 2], first, last, sizes, dy[h])
                writer_grads[heads * width * taps + h] += np.sum(dy[h][:end])
            inside = da[pad : end - pad]
            for c in range(width):
                _activate(x, own, c, first, last, end, sizes, a, slopes)
                inside[:] = ZERO
                for h in range(heads):
                    for tap in range(taps):
                        place = (h * width + c) * taps + tap
                        shift = pad + tap - before
                        dy_inside = dy[h][pad : end - pad]
                        writer_grads[place] += _dot(dy_inside, a[shift : shift + len(inside)])
                        back = pad - tap + before
                        _add(writer[place], dy[h][back : back + len(inside)], inside)
                for j in range(len(inside)):
                    inside[j] *= slopes[j]
                if pad:
                    _clear_between(da, first, last, sizes)
                own_grads[reader_size + c] += np.sum(inside)
                for m in range(maps):
                    for tap in range(taps):
                        place = (c * maps + m) * taps + tap
                        shift, back = pad + tap - before, pad - tap + before
                        own_grads[place] += _dot(inside, x[m][shift : shift + len(inside)])
                        _add(own[place], da[back : back + len(inside)], dx[m][pad : end - pad])
            for h in range(heads):
                at = b * strides[4, 0] + h * strides[4, 1]
                _add(ONE, dy[h], dx[h])
                _scatter(dx[h], first, last, sizes, score_grads[at:], strides[4, 2])
                bias_at = b * strides[5, 0] + h * strides[5, 1]
                if has_bias:
                    bias_row = dx[h] if summed else dx[heads + h]
                    if adds_bias and not summed:
                        _add(ONE, dy[h], bias_row)
                    _scatter(bias_row, first, last, sizes, bias_grads[bias_at:], strides[5, 2])
                for query in range(first, last):
                    for j in range(_visible(query, sizes), keys):
                        score_grads[at + query * strides[4, 2] + j] = ZERO
                        if has_bias:
                            bias_grads[bias_at + query * strides[5, 2] + j] = ZERO
            first = last
