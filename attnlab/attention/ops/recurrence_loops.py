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

from attnlab.attention.ops.loops import Integers, Numbers, loop
from attnlab.attention.ops.recurrence_rows import add_up, copy, find, gather, load, scatter, share
from attnlab.attention.ops.recurrence_token import VECTORS, ZERO, add_decay_grads, advance, retreat

SEGMENT = 64
"""Tokens of which the states are held at a time on the way back, at least."""
LEAST_CHANNELS = 16
"""Channels of keys are padded to a power of two, at least this one, for which there is code."""
GROUPS = (16, 32)
"""Columns of a group, which are computed together: there is code for each of these numbers."""
MEMORY, STRIDES, SIZES, INDICES = "float32[::1]", "int64[:, ::1]", "int64[::1]", "int64[:, :]"


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
        first six in the same order besides: of the decays those of their logarithms.
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
            find(at, indices[place, 0], strides, heads)
            state[:] = ZERO
            for start in range(0, tokens, segment):
                count = min(segment, tokens - start)
                load(
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
                scatter(out[:count], 0, columns, outputs, at[6] + start * strides[6, 2], strides[6, 2])

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
        change_grad, sums = np.empty(group, np.float32), np.empty(padded, np.float32)
        for place in range(len(indices)):
            find(at, indices[place, 0], strides, heads)
            before[0], grads[:], sums[:] = ZERO, ZERO, ZERO
            for turn in range(1 - segments, segments):  # all segments but the last, then each of them from the last on
                part = turn + segments - 1 if turn < 0 else segments - 1 - turn
                start = part * segment
                count = min(segment, tokens - start)
                rows, own_values, own_grads = token[:count], value[:count], value_grad[:count]
                copy(before[part], state)
                load(
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
                    copy(state, states[i])
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
                    copy(state, before[part + 1])
                    continue
                out[:] = ZERO
                gather(out_grads, at[6] + start * step[6], step[6], columns, out[:count], 0)
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
                    if decay and start + i > 0:  # of the first token there is no state that decays
                        add_decay_grads(token[i], sums, padded)
                scatter(rows, 6 * padded, channels, query_grads, at[7] + start * step[7], step[7])
                if erases and sizes[7]:
                    share(rows, channels, erasures, at[2] + start * step[2], step[2], padded)
                    add_up(rows, 3 * padded, channels, erasure_grads, at[9] + start * step[9], step[9])
                elif erases:
                    scatter(rows, 8 * padded, channels, erasure_grads, at[9] + start * step[9], step[9])
                if erases:
                    scatter(rows, 7 * padded, channels, removal_grads, at[8] + start * step[8], step[8])
                if separate or not erases:
                    scatter(rows, 9 * padded, channels, key_grads, at[10] + start * step[10], step[10])
                if numbers > 1:
                    scatter(rows, 5 * padded, channels, decay_grads, at[11] + start * step[11], step[11])
                elif numbers:
                    add_up(rows, 5 * padded, channels, decay_grads, at[11] + start * step[11], step[11])
                scatter(own_grads, 0, columns, value_grads, at[12] + start * step[12], step[12])

    return forward, backward
