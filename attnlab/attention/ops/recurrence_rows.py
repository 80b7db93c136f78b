"""What the loops of a recurrence copy: vectors of some tokens into rows that lie side by side, and gradients back.

Tensors are given as all their memory, as in :mod:`attnlab.attention.ops.recurrence_loops`. Indices of it have no sign:
of a sum of others the compiler does not know that it is not negative, and would copy number by number.

Letters  C channels of keys, V of values.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loops import Integers, Numbers, called, compiled
from attnlab.attention.ops.recurrence_chunk import DE, DR, PLANE, ROWS, A, E, K, Q, R

ZERO = np.float32(0)
MEMORY, STRIDES, SIZES = "float32[::1]", "int64[:, ::1]", "int64[::1]"
"""Types of memory, of the strides of all tensors, and of a row of integers."""


@called(f"void({MEMORY}, int64, int64, {ROWS})")
def gather(memory: Numbers, start: int, stride: int, out: Numbers) -> None:
    """Copy the channels of some tokens of a tensor.

    Args:
        memory: All memory of the tensor.
        start: Where the channels of the first token begin.
        stride: The distance of two tokens.
        out: Where to, a row for each token.
    """
    for t in range(len(out)):
        first = np.uint64(start + t * stride)
        for c in range(np.uint64(out.shape[1])):
            out[t, c] = memory[first + c]


@called(f"void({ROWS}, {MEMORY}, int64, int64)")
def scatter(rows: Numbers, memory: Numbers, start: int, stride: int) -> None:
    """Copy rows to the channels of some tokens of a tensor.

    Args:
        rows: A row for each token.
        memory: All memory of the tensor.
        start: Where the channels of the first token begin.
        stride: The distance of two tokens.
    """
    for t in range(len(rows)):
        first = np.uint64(start + t * stride)
        for c in range(np.uint64(rows.shape[1])):
            memory[first + c] = rows[t, c]


@called(f"void({ROWS}, {MEMORY}, int64, int64)")
def add_up(rows: Numbers, memory: Numbers, start: int, stride: int) -> None:
    """Write the sum of each row.

    Args:
        rows: A row for each token.
        memory: All memory of the tensor.
        start: Where the number of the first token is.
        stride: The distance of two tokens.
    """
    for t in range(len(rows)):
        total, row = ZERO, rows[t]
        for c in range(len(row)):
            total += row[c]
        memory[start + t * stride] = total


@called(f"void({PLANE}, int64, {MEMORY}, int64, int64)")
def share(space: Numbers, count: int, strengths: Numbers, start: int, stride: int) -> None:
    """Where e = b r, add the part of its gradient to that of r, and write the terms of that of b in its place.

    Args:
        space: The planes of :mod:`attnlab.attention.ops.recurrence_chunk`.
        count: Tokens.
        strengths: All memory of b.
        start: Where b of the first token is.
        stride: The distance of two tokens.
    """
    for t in range(count):
        strength, r, dr, de = strengths[start + t * stride], space[R, t], space[DR, t], space[DE, t]
        for c in range(len(r)):
            dr[c] += strength * de[c]
        for c in range(len(r)):
            de[c] *= r[c]


@called(f"void({PLANE}, {ROWS}, int64, int64, {SIZES}, {STRIDES}, {SIZES}, UniTuple({MEMORY}, 6))")
def load(
    space: Numbers,
    value: Numbers,
    start: int,
    count: int,
    at: Integers,
    strides: Integers,
    sizes: Integers,
    inputs: tuple[Numbers, ...],
) -> None:
    """Write the vectors and the values of some tokens.

    Args:
        space: For the vectors, the planes of :mod:`attnlab.attention.ops.recurrence_chunk`.
        value: For the values.
        start: The first token.
        count: Tokens.
        at: Where each tensor of the head begins.
        strides: The strides of each tensor.
        sizes: :class:`attnlab.attention.ops.recurrence_loops.Sizes`.
        inputs: All memory of q, r, e (or b), k, a and v.
    """
    step, (queries, removals, erasures, keys, decays, values) = strides[:, 2], inputs
    if sizes[4] > 1:
        gather(decays, at[4] + start * step[4], step[4], space[A, :count])
    elif sizes[4]:
        for t in range(count):
            space[A, t] = decays[at[4] + (start + t) * step[4]]
    gather(queries, at[0] + start * step[0], step[0], space[Q, :count])
    if sizes[5]:
        gather(removals, at[1] + start * step[1], step[1], space[R, :count])
        if sizes[7]:
            for t in range(count):
                strength, r, e = erasures[at[2] + (start + t) * step[2]], space[R, t], space[E, t]
                for c in range(len(r)):
                    e[c] = strength * r[c]
        else:
            gather(erasures, at[2] + start * step[2], step[2], space[E, :count])
    if sizes[6]:
        gather(keys, at[3] + start * step[3], step[3], space[K, :count])
    gather(values, at[5] + start * step[5], step[5], value[:count])


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
