"""What the loops of a recurrence copy: vectors of some tokens into rows that lie side by side, and gradients back.

Tensors are given as all their memory, as in :mod:`attnlab.attention.ops.recurrence_loops`. A copy goes by slices: of a
sum of indices the compiler does not know that it is not negative, and would gather number by number.

Letters  C channels of keys, P with padding, V of values.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loops import Integers, Numbers, compiled

ZERO, ONE = np.float32(0), np.float32(1)


@compiled
def copy(numbers: Numbers, out: Numbers) -> None:
    """Copy an array.

    Args:
        numbers: What is copied.
        out: Where to, of the same length.
    """
    for place in range(len(numbers)):
        out[place] = numbers[place]


@compiled
def gather(memory: Numbers, start: int, stride: int, count: int, out: Numbers, place: int) -> None:
    """Copy the channels of some tokens of a tensor to a place of each row.

    Args:
        memory: All memory of the tensor.
        start: Where the channels of the first token begin.
        stride: The distance of two tokens.
        count: C.
        out: The rows, one for each token.
        place: Where in a row they go.
    """
    for t in range(len(out)):
        first = start + t * stride
        copy(memory[first : first + count], out[t, place : place + count])


@compiled
def scatter(rows: Numbers, place: int, count: int, memory: Numbers, start: int, stride: int) -> None:
    """Copy a place of each row to the channels of some tokens of a tensor.

    Args:
        rows: The rows, one for each token.
        place: Where in a row the channels are.
        count: C.
        memory: All memory of the tensor.
        start: Where the channels of the first token begin.
        stride: The distance of two tokens.
    """
    for t in range(len(rows)):
        first = start + t * stride
        copy(rows[t, place : place + count], memory[first : first + count])


@compiled
def spread(memory: Numbers, start: int, stride: int, numbers: int, count: int, out: Numbers) -> None:
    """Copy the decays of some tokens to the beginning of each row: one number for all channels, or 1 without decay.

    Args:
        memory: All memory of the tensor.
        start: Where the channels of the first token begin.
        stride: The distance of two tokens.
        numbers: Whether there is a decay.
        count: C.
        out: The rows, one for each token.
    """
    for t in range(len(out)):
        factor = memory[start + t * stride] if numbers else ONE
        for c in range(count):
            out[t, c] = factor


@compiled
def add_up(rows: Numbers, place: int, count: int, memory: Numbers, start: int, stride: int) -> None:
    """Write the sum of the channels at a place of each row.

    Args:
        rows: The rows, one for each token.
        place: Where in a row the channels are.
        count: C.
        memory: All memory of the tensor.
        start: Where the channels of the first token begin.
        stride: The distance of two tokens.
    """
    for t in range(len(rows)):
        total = ZERO
        for number in rows[t, place : place + count]:
            total += number
        memory[start + t * stride] = total


@compiled
def share(rows: Numbers, channels: int, strengths: Numbers, start: int, stride: int, padded: int) -> None:
    """Where e = b r, add the part of its gradient to that of r, and write the terms of that of b in the place of e.

    Args:
        rows: The rows, one for each token.
        channels: C.
        strengths: All memory of b.
        start: Where b of the first token is.
        stride: The distance of two tokens.
        padded: P.
    """
    for t in range(len(rows)):
        strength, r, e = strengths[start + t * stride], rows[t, 2 * padded :], rows[t, 3 * padded :]
        dr, de = rows[t, 7 * padded :], rows[t, 8 * padded :]
        for c in range(channels):
            dr[c] += strength * de[c]
            e[c] = r[c] * de[c]


@compiled
def load(
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
    """Write the vectors and the values of some tokens.

    Args:
        rows: For the vectors, a row for each token.
        value_rows: For the values, likewise.
        start: The first token.
        at: Where each tensor of the head begins.
        strides: The strides of each tensor.
        sizes: :class:`attnlab.attention.ops.recurrence_loops.Sizes`.
        queries: All memory of q, and so on.
        removals: r.
        erasures: e, or b.
        keys: k.
        decays: a.
        values: v.
        padded: P.
    """
    channels, numbers, step = sizes[2], sizes[4], strides[:, 2]
    if numbers > 1:
        gather(decays, at[4] + start * step[4], step[4], channels, rows, 0)
    else:
        spread(decays, at[4] + start * step[4], step[4], numbers, channels, rows)
    gather(queries, at[0] + start * step[0], step[0], channels, rows, padded)
    if sizes[5]:
        gather(removals, at[1] + start * step[1], step[1], channels, rows, 2 * padded)
        if sizes[7]:
            for t in range(len(rows)):
                strength, r, e = erasures[at[2] + (start + t) * step[2]], rows[t, 2 * padded :], rows[t, 3 * padded :]
                for c in range(channels):
                    e[c] = strength * r[c]
        else:
            gather(erasures, at[2] + start * step[2], step[2], channels, rows, 3 * padded)
    if sizes[6]:
        gather(keys, at[3] + start * step[3], step[3], channels, rows, 4 * padded)
    gather(values, at[5] + start * step[5], step[5], sizes[3], value_rows, 0)


@compiled
def find(at: Integers, index: int, strides: Integers, heads: int) -> None:
    """Write where the tensors of a head of a sequence begin.

    Args:
        at: A number for each tensor.
        index: The head, among all of all sequences.
        strides: The strides of each tensor.
        heads: H.
    """
    for tensor in range(len(at)):
        at[tensor] = index // heads * strides[tensor, 0] + index % heads * strides[tensor, 1]
