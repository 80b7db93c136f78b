"""The recurrence of :mod:`attnlab.attention.ops.recurrence` by compiled loops: the state of a head stays in the cache.

Some tokens are computed together by :mod:`attnlab.attention.ops.recurrence_chunk`, which needs fewer operations of
memory than one token after the other. The way back begins with the state before each segment of tokens, and computes
the states within a segment a second time, so that nothing is kept between the passes.

A tensor is given as all its memory and its first three strides, since its channels lie side by side: the compiler does
not know that of an array of four axes.

Letters  B batch, H heads, T tokens, C channels of keys, V of values, N of a (0, 1, C), L tokens of a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attnlab.attention.ops.loop_memory import borrow, cut, hold
from attnlab.attention.ops.loops import Integers, Numbers, loop
from attnlab.attention.ops.recurrence_back import add_own, retreat, unscale, write_decay_grads
from attnlab.attention.ops.recurrence_chunk import (
    ALIKE,
    CHUNK,
    DA,
    DE,
    DK,
    DQ,
    DR,
    EACH,
    NONE,
    PAIRS,
    PLANES,
    ZERO,
    A,
    advance,
    decay_state,
    prepare,
)
from attnlab.attention.ops.recurrence_rows import MEMORY, SIZES, STRIDES, add_up, find, gather, load, scatter, share
from attnlab.attention.ops.small_transposes import transpose

SEGMENT = 64
"""Tokens of which the states are held at a time on the way back, at least."""
INDICES = "int64[:, :]"


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
    """Write the outputs.

    Args:
        indices: The heads of sequences that are computed, among all B x H.
        sizes: :class:`Sizes`.
        segment: Tokens that are held at a time.
        strides: Those of all tensors.
        queries: All memory of q, and so on.
        removals: r.
        erasures: e, or b.
        keys: k.
        decays: a.
        values: v.
        outputs: o.
    """
    heads, tokens, channels, columns, numbers = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    kind, erases, writes = NONE if numbers == 0 else ALIKE if numbers == 1 else EACH, sizes[5], sizes[6]
    held, inputs = min(segment, tokens), (queries, removals, erasures, keys, decays, values)
    at = np.empty(7, np.int64)
    sides = PLANES * channels + PAIRS * CHUNK + 3 * columns
    owner = np.empty(held * sides + channels * (columns + CHUNK), np.float32)
    memory = borrow(owner)
    space, memory = cut(memory, (PLANES, held, channels))
    pairs, memory = cut(memory, (PAIRS, held, CHUNK))
    value, memory = cut(memory, (held, columns))
    change, memory = cut(memory, (held, columns))
    out, memory = cut(memory, (held, columns))
    state, memory = cut(memory, (channels, columns))
    transposed, memory = cut(memory, (channels, CHUNK))
    for place in range(len(indices)):
        find(at, indices[place, 0], strides, heads)
        state[:] = ZERO
        for start in range(0, tokens, segment):
            count, last = min(segment, tokens - start), 0
            load(space, value, start, count, at, strides, sizes, inputs)
            while last < count:
                first = last
                if kind != NONE:
                    decay_state(state, space[A, first])
                last = prepare(space, pairs, first, count, kind, erases, writes, transposed)
                advance(state, space, pairs, first, last, value, change, out, kind, erases, writes, 1)
            scatter(out[:count], outputs, at[6] + start * strides[6, 2], strides[6, 2])
    hold(owner)


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
    """Write the gradients of all tensors; of the decays those of their logarithms.

    Args:
        indices: The heads of sequences that are computed, among all B x H.
        sizes: :class:`Sizes`.
        segment: Tokens of which the states are held at a time.
        strides: Those of all tensors.
        queries: All memory of q, and so on.
        removals: r.
        erasures: e, or b.
        keys: k.
        decays: a.
        values: v.
        out_grads: The gradient of o.
        query_grads: That of q, and so on.
        removal_grads: That of r.
        erasure_grads: That of e, or b.
        key_grads: That of k.
        decay_grads: That of log a.
        value_grads: That of v.
    """
    heads, tokens, channels, columns, numbers = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    kind, erases, writes = NONE if numbers == 0 else ALIKE if numbers == 1 else EACH, sizes[5], sizes[6]
    step, segments, held = strides[:, 2], (tokens + segment - 1) // segment, min(segment, tokens)
    inputs, larger = (queries, removals, erasures, keys, decays, values), max(channels, columns)
    at = np.empty(13, np.int64)
    ends = np.empty(held + 1, np.int64)
    sides, size = PLANES * channels + PAIRS * CHUNK + 4 * columns, channels * columns
    owner = np.empty(
        held * (sides + size) + (segments + 3) * size + CHUNK * (columns + larger + CHUNK + 2) + 2 * channels,
        np.float32,
    )
    memory = borrow(owner)
    space, memory = cut(memory, (PLANES, held, channels))
    pairs, memory = cut(memory, (PAIRS, held, CHUNK))
    value, memory = cut(memory, (held, columns))
    change, memory = cut(memory, (held, columns))
    out, memory = cut(memory, (held, columns))
    value_grad, memory = cut(memory, (held, columns))
    change_grad, memory = cut(memory, (CHUNK, columns))
    square, memory = cut(memory, (CHUNK, CHUNK))
    own, memory = cut(memory, (2, CHUNK))
    later, memory = cut(memory, (channels,))
    sums, memory = cut(memory, (channels,))
    transposed, memory = cut(memory, (larger, CHUNK))
    state, memory = cut(memory, (channels, columns))
    grads, memory = cut(memory, (channels, columns))
    transposed_grads, memory = cut(memory, (columns, channels))
    before, memory = cut(memory, (segments, channels, columns))
    states, memory = cut(memory, (held, columns, channels))
    for place in range(len(indices)):
        find(at, indices[place, 0], strides, heads)
        state[:], grads[:], later[:] = ZERO, ZERO, ZERO
        for walk in range(1 - segments, segments):  # all segments but the last, then each of them from the last on
            part = walk + segments - 1 if walk < 0 else segments - 1 - walk
            start = part * segment
            count, chunks, ends[0] = min(segment, tokens - start), 0, 0
            if walk <= 0:
                before[part] = state
            else:
                state[:] = before[part]
            load(space, value, start, count, at, strides, sizes, inputs)
            while ends[chunks] < count:
                first = ends[chunks]
                if kind != NONE:
                    decay_state(state, space[A, first])
                if walk >= 0:
                    transpose(state, states[chunks])
                last = prepare(space, pairs, first, count, kind, erases, writes, transposed[:channels])
                advance(state, space, pairs, first, last, value, change, out, kind, erases, writes, 0)
                chunks += 1
                ends[chunks] = last
            if walk < 0:
                continue
            gather(out_grads, at[6] + start * step[6], step[6], out[:count])
            for chunk in range(chunks - 1, -1, -1):
                retreat(
                    grads,
                    states[chunk],
                    transposed_grads,
                    space,
                    pairs,
                    ends[chunk],
                    ends[chunk + 1],
                    value,
                    value_grad,
                    change,
                    change_grad,
                    out,
                    kind,
                    erases,
                    writes,
                    transposed[:columns],
                    square,
                    own,
                    sums,
                )
                first, last = ends[chunk], ends[chunk + 1]
                if kind != NONE:
                    write_decay_grads(space, first, last, start, erases, writes, later, sums)
                add_own(space, own, first, last, erases, writes)
                if kind != NONE:
                    unscale(space, first, last, erases, writes)
            scatter(space[DQ, :count], query_grads, at[7] + start * step[7], step[7])
            if erases and sizes[7]:
                share(space, count, erasures, at[2] + start * step[2], step[2])
                add_up(space[DE, :count], erasure_grads, at[9] + start * step[9], step[9])
            elif erases:
                scatter(space[DE, :count], erasure_grads, at[9] + start * step[9], step[9])
            if erases:
                scatter(space[DR, :count], removal_grads, at[8] + start * step[8], step[8])
            if writes:
                scatter(space[DK, :count], key_grads, at[10] + start * step[10], step[10])
            if kind == EACH:
                scatter(space[DA, :count], decay_grads, at[11] + start * step[11], step[11])
            elif kind == ALIKE:
                add_up(space[DA, :count], decay_grads, at[11] + start * step[11], step[11])
            scatter(value_grad[:count], value_grads, at[12] + start * step[12], step[12])
    hold(owner)
