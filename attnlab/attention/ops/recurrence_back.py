"""The way back through a chunk of a recurrence.

Formulas and letters are those of :mod:`attnlab.attention.ops.recurrence_chunk`.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loop_math import product
from attnlab.attention.ops.loops import Numbers, called
from attnlab.attention.ops.recurrence_chunk import (
    DA,
    DE,
    DK,
    DQ,
    DR,
    NONE,
    ONE,
    PLANE,
    ROWS,
    TERMS,
    ZERO,
    A,
    B,
    E,
    K,
    M,
    P,
    Q,
    R,
    decay_state,
    keep_earlier,
    multiply,
    solve_back,
)
from attnlab.attention.ops.small_transposes import transpose


@called(f"void({ROWS}, {ROWS}, {ROWS}, float32)")
def add_products(sums: Numbers, left: Numbers, right: Numbers, factor: np.float32) -> None:
    """Add products of numbers to sums; each loop writes one array, as the compiler compares the addresses of few.

    Args:
        sums: R x C.
        left: R x C.
        right: R x C.
        factor: Of the products.
    """
    numbers, one, other = sums.reshape(sums.size), left.reshape(left.size), right.reshape(right.size)
    for place in range(len(numbers)):
        numbers[place] += factor * one[place] * other[place]


@called(
    f"void({', '.join([ROWS] * 3)}, {PLANE}, {PLANE}, int64, int64, {', '.join([ROWS] * 5)}, int64, int64, int64, "
    f"{', '.join([ROWS] * 3)}, float32[::1])"
)
def retreat(
    grads: Numbers,
    transposed_state: Numbers,
    transposed_grads: Numbers,
    space: Numbers,
    pairs: Numbers,
    first: int,
    last: int,
    values: Numbers,
    value_grads: Numbers,
    changes: Numbers,
    change_grads: Numbers,
    out_grads: Numbers,
    kind: int,
    erases: int,
    writes: int,
    transposed: Numbers,
    square: Numbers,
    own: Numbers,
    sums: Numbers,
) -> None:
    """Turn the gradient of the state after a chunk into that of the state before it, and write those of its vectors.

    Args:
        grads: The gradient of the state, C x V.
        transposed_state: S^T, V x C.
        transposed_grads: Memory for H^T.
        space: The planes; the gradients of q', r', e' and k' are written, but for what :func:`add_own` adds.
        pairs: P and M.
        first: The first token of the chunk.
        last: The end of its last one.
        values: V of all tokens.
        value_grads: Memory for dV.
        changes: D.
        change_grads: Memory for W of L tokens.
        out_grads: dO.
        kind: Of the decays.
        erases: Whether there are r and e.
        writes: Whether there is k beside e, or in its place.
        transposed: Memory for V x L numbers.
        square: Memory for L x L numbers.
        own: Memory for the gradients of P of a token with itself, 2 x L numbers; they are left out of those of vectors.
        sums: Memory for p of the first token of the chunk.
    """
    n, out_grad, value_grad = last - first, out_grads[first:last], value_grads[first:last]
    query, removal, change_grad = space[Q, first:last], space[R, first:last], change_grads[:n]
    if kind != NONE:
        decay_state(grads, space[B, last - 1])
    transpose(grads, transposed_grads)
    product(out_grad, transposed_state, ONE, ZERO, space[DQ, first:last])
    if erases:
        product(pairs[P, first:last, :n].T, out_grad, ONE, ZERO, change_grad)
        product(space[E, first:last], grads, ONE, ONE, change_grad)
        solve_back(pairs[M, first:last, :n], change_grad)
        product(change_grad, transposed_state, -ONE, ZERO, space[DR, first:last])
    if writes:
        product(pairs[P + 1, first:last, :n].T, out_grad, ONE, ZERO, value_grad)
        product(space[K, first:last], grads, ONE, ONE, value_grad)
        if erases:
            product(pairs[M + 1, first:last, :n].T, change_grad, -ONE, ONE, value_grad)
    else:
        for t in range(n):
            for j in range(value_grad.shape[1]):
                value_grad[t, j] = change_grad[t, j]
    for which in range(2):
        if writes if which else erases:
            written = (values if which else changes)[first:last]
            vector, vector_grad = space[E + which, first:last], space[DE + which, first:last]
            product(written, transposed_grads, ONE, ZERO, vector_grad)
            transpose(written, transposed[:, :n])
            product(out_grad, transposed[:, :n], ONE, ZERO, square[:n, :n])
            for t in range(n):
                own[which, t] = square[t, t]
            keep_earlier(square[:n, :n], 0)
            product(square[:n, :n], vector, ONE, ONE, space[DQ, first:last])
            product(square[:n, :n].T, query, ONE, ONE, vector_grad)
            if erases:
                product(change_grad, transposed[:, :n], -ONE, ZERO, square[:n, :n])
                keep_earlier(square[:n, :n], 0)
                product(square[:n, :n], vector, ONE, ONE, space[DR, first:last])
                product(square[:n, :n].T, removal, ONE, ONE, vector_grad)
    product(query.T, out_grad, ONE, ONE, grads)
    if erases:
        product(removal.T, change_grad, -ONE, ONE, grads)
    if kind != NONE:
        transpose(grads, transposed_grads)
        sums[:] = ZERO
        for j in range(len(transposed_grads)):
            for c in range(len(sums)):
                sums[c] += transposed_state[j, c] * transposed_grads[j, c]
        decay_state(grads, space[A, first])


@called(f"void({PLANE}, {ROWS}, int64, int64, int64, int64)")
def add_own(space: Numbers, own: Numbers, first: int, last: int, erases: int, writes: int) -> None:
    """Add the gradients of P of each token with itself to those of q', e' and k'.

    Args:
        space: The planes.
        own: The gradients, 2 x L numbers.
        first: The first token of the chunk.
        last: The end of its last one.
        erases: Whether there are r and e.
        writes: Whether there is k beside e, or in its place.
    """
    for which in range(2):
        if writes if which else erases:
            for t in range(first, last):
                grad, query, vector = own[which, t - first], space[Q, t], space[E + which, t]
                query_grad, vector_grad = space[DQ, t], space[DE + which, t]
                for c in range(len(query)):
                    query_grad[c] += grad * vector[c]
                for c in range(len(query)):
                    vector_grad[c] += grad * query[c]


@called(f"void({PLANE}, int64, int64, int64, int64, int64, float32[::1], float32[::1])")
def write_decay_grads(
    space: Numbers, first: int, last: int, start: int, erases: int, writes: int, later: Numbers, sums: Numbers
) -> None:
    """Write the gradients of log a, before those of tokens with themselves are added: these are in two terms of p.

    Of a strong decay p is small, and what the terms have in common would leave their rounding.

    Args:
        space: The planes.
        first: The first token of the chunk.
        last: The end of its last one.
        start: Tokens before those of the planes.
        erases: Whether there are r and e.
        writes: Whether there is k beside e, or in its place.
        later: p of the token after the chunk, and after this of its first one.
        sums: p of its first one.
    """
    terms = space[TERMS, first:last]
    terms[:] = ZERO
    add_products(terms, space[Q, first:last], space[DQ, first:last], ONE)
    if erases:
        add_products(terms, space[R, first:last], space[DR, first:last], ONE)
        add_products(terms, space[E, first:last], space[DE, first:last], -ONE)
    if writes:
        add_products(terms, space[K, first:last], space[DK, first:last], -ONE)
    for t in range(last - 1, first, -1):
        for c in range(len(later)):
            total = later[c] + space[TERMS, t, c]
            later[c] = total
            space[TERMS, t, c] = total if space[A, t, c] > ZERO else ZERO  # of a forgotten state rounding would be left
    later[:] = sums
    for c in range(len(sums)):  # before the first token there is no state that decays
        space[TERMS, first, c] = sums[c] if space[A, first, c] > ZERO and start + first > 0 else ZERO


@called(f"void({PLANE}, int64, int64, int64, int64)")
def unscale(space: Numbers, first: int, last: int, erases: int, writes: int) -> None:
    """Write the gradients of the vectors in place of those of the scaled vectors, and those of log a where 1 / B was.

    Args:
        space: The planes; r is written in place of r'.
        first: The first token of the chunk.
        last: The end of its last one.
        erases: Whether there are r and e.
        writes: Whether there is k beside e, or in its place.
    """
    multiply(space[DQ, first:last], space[B, first:last])
    if erases:
        multiply(space[DR, first:last], space[B, first:last])
        multiply(space[DE, first:last], space[DA, first:last])
        multiply(space[R, first:last], space[DA, first:last])
    if writes:
        multiply(space[DK, first:last], space[DA, first:last])
    space[DA, first:last] = space[TERMS, first:last]
