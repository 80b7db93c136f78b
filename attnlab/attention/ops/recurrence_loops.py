"""The recurrence of :mod:`attnlab.attention.ops.recurrence` by compiled loops: the state of a head stays in the cache.

The way back begins with the state before each segment of tokens, and computes the states within a segment a second
time, so that nothing is kept between the passes.

A tensor is given as all its memory and its first three strides, since its channels lie side by side: the compiler does
not know that of an array of four axes.

Letters  B batch, H heads, T tokens, C channels of keys, P with padding, V of values, L of a group, N of a (0, 1, C).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from attnlab.attention.ops.loops import Integers, Numbers, compiled, loop
from attnlab.attention.ops.recurrence_token import VECTORS, ZERO, advance, retreat

SEGMENT = 64
"""Tokens of which the states are held at a time on the way back, at least."""
LEAST_CHANNELS = 16
"""Channels of keys are padded to a power of two, at least this one, for which there is code."""
GROUPS = (16, 32)
"""Columns of a group, which are computed together: there is code for each of these numbers."""
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
    strengths: bool
    """Whether b is given in place of e, which is b r."""


def padded(channels: int) -> int:
    """Channels with padding.

    Args:
        channels: C.

    Returns:
        P.
    """
    return max(LEAST_CHANNELS, 1 << (channels - 1).bit_length())


def group_of(columns: int) -> int:
    """Choose how many columns are computed together.

    Args:
        columns: V.

    Returns:
        L: the smallest group that holds all columns, or the largest.
    """
    return next((group for group in GROUPS if group >= columns), GROUPS[-1])


@compiled
def _copy(numbers: Numbers, out: Numbers) -> None:
    """Copy an array."""
    for place in range(len(numbers)):
        out[place] = numbers[place]


@compiled
def _gather(memory: Numbers, start: int, stride: int, count: int, out: Numbers, place: int) -> None:
    """Copy the channels of some tokens of a tensor to a place of each row."""
    for t in range(len(out)):
        first = start + t * stride
        _copy(memory[first : first + count], out[t, place : place + count])


@compiled
def _scatter(rows: Numbers, place: int, count: int, memory: Numbers, start: int, stride: int) -> None:
    """Copy a place of each row to the channels of some tokens of a tensor."""
    for t in range(len(rows)):
        first = start + t * stride
        _copy(rows[t, place : place + count], memory[first : first + count])


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
        for number in rows[t, place : place + count]:
            total += number
        memory[start + t * stride] = total


@compiled
def _share(rows: Numbers, channels: int, strengths: Numbers, start: int, stride: int, padded: int) -> None:
    """Where e = b r, add the part of its gradient to that of r, and write the terms of that of b in the place of e."""
    for t in range(len(rows)):
        strength, r, e = strengths[start + t * stride], rows[t, 2 * padded :], rows[t, 3 * padded :]
        dr, de = rows[t, 7 * padded :], rows[t, 8 * padded :]
        for c in range(channels):
            dr[c] += strength * de[c]
            e[c] = r[c] * de[c]


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
        if sizes[7]:
            for t in range(len(rows)):
                strength, r, e = erasures[at[2] + (start + t) * step[2]], rows[t, 2 * padded :], rows[t, 3 * padded :]
                for c in range(channels):
                    e[c] = strength * r[c]
        else:
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
def passes(padded: int, group: int, decay: bool, erases: bool, separate: bool) -> tuple[Any, Any]:
    """Compile both passes for one kind of recurrence, since what is constant makes the loops twice as fast.

    Args:
        padded: P.
        group: L.
        decay: Whether there is a.
        erases: Whether there are r and e.
        separate: Whether there is k beside e.

    Returns:
        ``forward`` and ``backward``. Both take the heads of sequences that they compute, as their indices among all B
        x H; :class:`Sizes`; the tokens of a segment; and the strides and the memory of queries, removals, erasures,
        keys, decays, values and outputs, the latter's gradients for ``backward``, which takes the gradients of the
        first six in the same order besides.
    """
    # Both hold numbers alone: numba 0.68.1 finds no kept code of a closure that holds a compiled function.

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
        heads, tokens, columns = sizes[0], sizes[1], sizes[3]
        width = (columns + group - 1) // group * group
        held, size = min(segment, tokens), padded * group
        state, change, at = np.empty(width * padded, np.float32), np.empty(group, np.float32), np.empty(7, np.int64)
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
                    for block in range(width // group):
                        first, last = block * group, (block + 1) * group
                        advance(
                            state[block * size : (block + 1) * size],
                            token[i],
                            value[i, first:last],
                            change,
                            out[i, first:last],
                            decay,
                            erases,
                            separate,
                            padded,
                            group,
                        )
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
        step, width = strides[:, 2], (columns + group - 1) // group * group
        held, size = min(segment, tokens), padded * group
        segments = (tokens + segment - 1) // segment
        before, states = np.empty((segments, width * padded), np.float32), np.empty((held, width * padded), np.float32)
        state, grads, at = np.empty_like(states[0]), np.empty_like(states[0]), np.empty(13, np.int64)
        token, value = np.zeros((held, VECTORS * padded), np.float32), np.zeros((held, width), np.float32)
        change, out, value_grad = np.empty_like(value), np.zeros_like(value), np.empty_like(value)
        change_grad = np.empty(group, np.float32)
        for place in range(len(indices)):
            _find(at, indices[place, 0], strides, heads)
            before[0], grads[:] = ZERO, ZERO
            for turn in range(1 - segments, segments):  # all segments but the last, then each of them from the last on
                part = turn + segments - 1 if turn < 0 else segments - 1 - turn
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
                    for block in range(width // group):
                        first, last = block * group, (block + 1) * group
                        advance(
                            state[block * size : (block + 1) * size],
                            token[i],
                            value[i, first:last],
                            change[i, first:last],
                            out[i, first:last],
                            decay,
                            erases,
                            separate,
                            padded,
                            group,
                        )
                if turn < 0:
                    _copy(state, before[part + 1])
                    continue
                out[:] = ZERO
                _gather(out_grads, at[6] + start * step[6], step[6], columns, out[:count], 0)
                rows[:, 5 * padded :] = ZERO
                for i in range(count - 1, -1, -1):
                    for block in range(width // group):
                        first, last = block * group, (block + 1) * group
                        retreat(
                            states[i, block * size : (block + 1) * size],
                            grads[block * size : (block + 1) * size],
                            token[i],
                            value[i, first:last],
                            value_grad[i, first:last],
                            change[i, first:last],
                            change_grad,
                            out[i, first:last],
                            decay,
                            erases,
                            separate,
                            padded,
                            group,
                        )
                _scatter(rows, 6 * padded, channels, query_grads, at[7] + start * step[7], step[7])
                if erases and sizes[7]:
                    _share(rows, channels, erasures, at[2] + start * step[2], step[2], padded)
                    _sum(rows, 3 * padded, channels, erasure_grads, at[9] + start * step[9], step[9])
                elif erases:
                    _scatter(rows, 8 * padded, channels, erasure_grads, at[9] + start * step[9], step[9])
                if erases:
                    _scatter(rows, 7 * padded, channels, removal_grads, at[8] + start * step[8], step[8])
                if separate or not erases:
                    _scatter(rows, 9 * padded, channels, key_grads, at[10] + start * step[10], step[10])
                if numbers > 1:
                    _scatter(rows, 5 * padded, channels, decay_grads, at[11] + start * step[11], step[11])
                elif numbers:
                    _sum(rows, 5 * padded, channels, decay_grads, at[11] + start * step[11], step[11])
                _scatter(own_grads, 0, columns, value_grads, at[12] + start * step[12], step[12])

    return forward, backward
