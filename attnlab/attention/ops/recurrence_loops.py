"""The recurrence of :mod:`attnlab.attention.ops.recurrence` by compiled loops: the state of a head stays in the cache.

The way back begins with the state before each segment of tokens, and computes the states within a segment a second
time, so that nothing is kept between the passes.

A tensor is given as all its memory and its first three strides, since its channels lie side by side: the compiler does
not know that of an array of four axes.

Letters  B batch, H heads, T tokens, C channels of keys, P with padding, V of values, N numbers of a: 0, 1 or C.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from attnlab.attention.ops.loops import Integers, Numbers, compiled, loop
from attnlab.attention.ops.recurrence_token import ROWS, VECTORS, ZERO, advance, retreat

SEGMENT = 64
"""Tokens of which the states are held at a time on the way back, at least."""
LEAST_CHANNELS = 16
"""Channels of keys are padded to a power of two, at least this one, for which there is code."""
MEMORY, STRIDES, SIZES, INDICES = "float32[::1]", "int64[:, ::1]", "int64[::1]", "int64[:, :]"
ONE = np.float32(1)


class Sizes(NamedTuple):
    """Sizes of all tensors, as the loops take them."""

    heads: int
    tokens: int
    channels: int
    columns: int
    """V."""
    numbers: int
    """N."""
    erases: bool
    has_keys: bool
    """Whether k is given; without it k = e."""


def padded(channels: int) -> int:
    """Channels with padding.

    Args:
        channels: C.

    Returns:
        P.
    """
    return max(LEAST_CHANNELS, 1 << (channels - 1).bit_length())


@compiled
def _gather(memory: Numbers, start: int, stride: int, count: int, out: Numbers, place: int) -> None:
    """Copy the channels of some tokens of a tensor to a place of each row."""
    for t in range(len(out)):
        for c in range(count):
            out[t, place + c] = memory[start + t * stride + c]


@compiled
def _scatter(rows: Numbers, place: int, count: int, memory: Numbers, start: int, stride: int) -> None:
    """Copy a place of each row to the channels of some tokens of a tensor."""
    for t in range(len(rows)):
        for c in range(count):
            memory[start + t * stride + c] = rows[t, place + c]


@compiled
def _spread(memory: Numbers, start: int, stride: int, numbers: int, count: int, out: Numbers) -> None:
    """Copy the decays of some tokens to the beginning of each row: one number for all channels, or 1 without decay."""
    for t in range(len(out)):
        factor = memory[start + t * stride] if numbers else ONE
        for c in range(count):
            out[t, c] = factor


@compiled
def _sum(rows: Numbers, place: int, count: int, memory: Numbers, start: int, stride: int) -> None:
    """Write the sum of the channels at a place of each row."""
    for t in range(len(rows)):
        total = ZERO
        for c in range(count):
            total += rows[t, place + c]
        memory[start + t * stride] = total


@compiled
def _copy(numbers: Numbers, out: Numbers) -> None:
    """Copy an array."""
    for place in range(len(numbers)):
        out[place] = numbers[place]


@compiled
def _load(
    rows: Numbers,
    value_rows: Numbers,
    start: int,
    at: Integers,
    strides: Integers,
    sizes: Integers,
    queries: Numbers,
    removals: Numbers,
    erasures: Numbers,
    keys: Numbers,
    decays: Numbers,
    values: Numbers,
    padded: int,
) -> None:
    """Write the vectors and the values of some tokens."""
    channels, numbers, step = sizes[2], sizes[4], strides[:, 2]
    if numbers > 1:
        _gather(decays, at[4] + start * step[4], step[4], channels, rows, 0)
    else:
        _spread(decays, at[4] + start * step[4], step[4], numbers, channels, rows)
    _gather(queries, at[0] + start * step[0], step[0], channels, rows, padded)
    if sizes[5]:
        _gather(removals, at[1] + start * step[1], step[1], channels, rows, 2 * padded)
        _gather(erasures, at[2] + start * step[2], step[2], channels, rows, 3 * padded)
    if sizes[6]:
        _gather(keys, at[3] + start * step[3], step[3], channels, rows, 4 * padded)
    _gather(values, at[5] + start * step[5], step[5], sizes[3], value_rows, 0)


@compiled
def _find(at: Integers, index: int, strides: Integers, heads: int) -> None:
    """Write where the tensors of a head of a sequence begin."""
    for tensor in range(len(at)):
        at[tensor] = index // heads * strides[tensor, 0] + index % heads * strides[tensor, 1]


@cache
def passes(padded: int) -> tuple[Any, Any]:
    """Compile both passes for keys of so many channels.

    Args:
        padded: P.

    Returns:
        ``forward`` and ``backward``. Both take the heads of sequences that they compute, as their indices among all B
        x H; :class:`Sizes`; the tokens of a segment; and the strides and the memory of queries, removals, erasures,
        keys, decays, values and outputs, the latter's gradients for ``backward``, which takes the gradients of the
        first six in the same order besides.
    """
    # Both hold P alone: numba 0.68.1 finds no kept code of a closure that holds a compiled function.

    @loop(f"void({INDICES}, {SIZES}, int64, {STRIDES}, {', '.join([MEMORY] * 7)})")
    def forward(
        indices: Integers,
        sizes: Integers,
        segment: int,
        strides: Integers,
        queries: Numbers,
        removals: Numbers,
        erasures: Numbers,
        keys: Numbers,
        decays: Numbers,
        values: Numbers,
        outputs: Numbers,
    ) -> None:
        heads, tokens, columns, erases, separate = sizes[0], sizes[1], sizes[3], sizes[5] > 0, sizes[6] > 0
        width, held = (columns + ROWS - 1) // ROWS * ROWS, min(segment, tokens)
        state, change, at = np.empty(width * padded, np.float32), np.empty(width, np.float32), np.empty(7, np.int64)
        token, value = np.zeros((held, VECTORS * padded), np.float32), np.zeros((held, width), np.float32)
        out = np.empty((held, width), np.float32)
        for place in range(len(indices)):
            _find(at, indices[place, 0], strides, heads)
            state[:] = ZERO
            for start in range(0, tokens, segment):
                count = min(segment, tokens - start)
                _load(
                    token[:count],
                    value[:count],
                    start,
                    at,
                    strides,
                    sizes,
                    queries,
                    removals,
                    erasures,
                    keys,
                    decays,
                    values,
                    padded,
                )
                for i in range(count):
                    advance(state, token[i], value[i], change, out[i], erases, separate, padded)
                _scatter(out[:count], 0, columns, outputs, at[6] + start * strides[6, 2], strides[6, 2])

    @loop(f"void({INDICES}, {SIZES}, int64, {STRIDES}, {', '.join([MEMORY] * 13)})")
    def backward(
        indices: Integers,
        sizes: Integers,
        segment: int,
        strides: Integers,
        queries: Numbers,
        removals: Numbers,
        erasures: Numbers,
        keys: Numbers,
        decays: Numbers,
        values: Numbers,
        out_grads: Numbers,
        query_grads: Numbers,
        removal_grads: Numbers,
        erasure_grads: Numbers,
        key_grads: Numbers,
        decay_grads: Numbers,
        value_grads: Numbers,
    ) -> None:
        heads, tokens, channels, columns, numbers = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        erases, separate, step = sizes[5] > 0, sizes[6] > 0, strides[:, 2]
        width, held = (columns + ROWS - 1) // ROWS * ROWS, min(segment, tokens)
        segments = (tokens + segment - 1) // segment
        before, states = np.empty((segments, width * padded), np.float32), np.empty((held, width * padded), np.float32)
        state, grads, at = np.empty_like(states[0]), np.empty_like(states[0]), np.empty(13, np.int64)
        token, value = np.zeros((held, VECTORS * padded), np.float32), np.zeros((held, width), np.float32)
        change, out, value_grad = np.empty_like(value), np.zeros_like(value), np.empty_like(value)
        for place in range(len(indices)):
            _find(at, indices[place, 0], strides, heads)
            state[:] = ZERO
            for part in range(segments - 1):
                start = part * segment
                _copy(state, before[part])
                _load(
                    token, value, start, at, strides, sizes, queries, removals, erasures, keys, decays, values, padded
                )
                for i in range(segment):
                    advance(state, token[i], value[i], change[i], out[i], erases, separate, padded)
            _copy(state, before[segments - 1])
            grads[:] = ZERO
            for part in range(segments - 1, -1, -1):
                start = part * segment
                count = min(segment, tokens - start)
                rows, own_values, own_grads = token[:count], value[:count], value_grad[:count]
                _copy(before[part], state)
                _load(
                    rows,
                    own_values,
                    start,
                    at,
                    strides,
                    sizes,
                    queries,
                    removals,
                    erasures,
                    keys,
                    decays,
                    values,
                    padded,
                )
                for i in range(count):
                    _copy(state, states[i])
                    advance(state, token[i], value[i], change[i], out[i], erases, separate, padded)
                out[:] = ZERO
                _gather(out_grads, at[6] + start * step[6], step[6], columns, out[:count], 0)
                for i in range(count - 1, -1, -1):
                    retreat(
                        states[i], grads, token[i], value[i], value_grad[i], change[i], out[i], erases, separate, padded
                    )
                _scatter(rows, 6 * padded, channels, query_grads, at[7] + start * step[7], step[7])
                if erases:
                    _scatter(rows, 7 * padded, channels, removal_grads, at[8] + start * step[8], step[8])
                    _scatter(rows, 8 * padded, channels, erasure_grads, at[9] + start * step[9], step[9])
                if separate or not erases:
                    _scatter(rows, 9 * padded, channels, key_grads, at[10] + start * step[10], step[10])
                if numbers > 1:
                    _scatter(rows, 5 * padded, channels, decay_grads, at[11] + start * step[11], step[11])
                elif numbers:
                    _sum(rows, 5 * padded, channels, decay_grads, at[11] + start * step[11], step[11])
                _scatter(own_grads, 0, columns, value_grads, at[12] + start * step[12], step[12])

    return forward, backward
