"""Some tokens of a recurrence together, forth and back, by products of small matrices.

In the notation of :mod:`attnlab.attention.ops.recurrence`, let B_t be the product of a over the tokens of a chunk after
its first one, up to t, and S the state before the chunk times a of its first token. With the scaled vectors

    q' = B q,   r' = B r,   e' = e / B,   k' = k / B

the decays from a token s to a later one t are in the products q'_t . e'_s. Write P_y for those of q' and y' with
s <= t, and M_y for those of r' and y' with s < t. Then d_t, what is written with e, the outputs and the next state are

    D = -M_k V - M_e D - r' S,   O = P_e D + P_k V + q' S,   S <- Diag(B_n) (S + e'^T D + k'^T V)

Where k = e the two terms of each sum are one, with D = V - M_e D - r' S; nothing is erased without e and r. M_e is
strictly triangular, so that the rows of D follow from each other. With H the gradient of the next state, times B_n,

    W = P_e^T dO + e' H - M_e^T W,   dV = P_k^T dO + k' H - M_k^T W, or W where k = e
    dP_y = dO U^T,   dM_y = -W U^T,   with U = D for y = e and U = V for y = k
    dq' = dO S^T + sum dP_y y',   dr' = -W S^T + sum dM_y y',   dy' = U H^T + dP_y^T q' + dM_y^T r'
    H + q'^T dO - r'^T W   is the gradient of S

That of log a is p_t = p_(t+1) + q' dq' + r' dr' - e' de' - k' dk', as q dq = q' dq', without what a token reads of
itself, which is in two terms; of the first token of a chunk it is the sum of the state times its gradient, so that no
rounding is carried further. A chunk ends before a token with which B would fall below ``LEAST``, so that nothing
overflows, and a state may be forgotten at once.

Letters  n tokens of a chunk, at most L, C channels of keys, V of values.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loop_math import product
from attnlab.attention.ops.loops import Numbers, called, compiled
from attnlab.attention.ops.small_transposes import transpose

CHUNK = 16
"""L."""
LEAST = np.float32(2.0**-80)
"""The smallest B of a chunk: a query times it, and a key over it, are far from the limits of float32."""
ZERO, ONE = np.float32(0), np.float32(1)
PLANES = 12
"""Tokens x C numbers each of a, q, r, e, k, in the same order their gradients, B, and terms of p; 1 / B is where the
gradient of a will be."""
A, Q, R, E, K, DA, DQ, DR, DE, DK, B, TERMS = range(PLANES)
PAIRS = 4
"""Tokens x L numbers each of P_e, P_k, M_e, M_k."""
P, M = 0, 2
"""Where those of e are; those of k follow."""
PLANE, ROWS, ANY_ROWS = "float32[:, :, ::1]", "float32[:, ::1]", "float32[:, :]"
"""Types of planes, of rows that lie side by side, and of others."""
NONE, ALIKE, EACH = range(3)
"""Kinds of decay: none, one for all channels, one for each."""


@compiled
def keep_earlier(pairs: Numbers, own: int) -> None:
    """Set numbers of pairs of tokens to zero where the second is later.

    Args:
        pairs: n x n.
        own: 1 where the pairs of a token with itself are kept, 0 where not.
    """
    for t in range(len(pairs)):
        for s in range(t + own, len(pairs)):
            pairs[t, s] = ZERO


@called(f"void({ROWS}, {ROWS})")
def multiply(rows: Numbers, factors: Numbers) -> None:
    """Multiply rows number by number, as one row: the beginning of a loop takes as long as 32 numbers of it.

    Args:
        rows: R x C.
        factors: R x C.
    """
    numbers, others = rows.reshape(rows.size), factors.reshape(factors.size)
    for place in range(len(numbers)):
        numbers[place] *= others[place]


@compiled
def decay_state(state: Numbers, decays: Numbers) -> None:
    """Multiply the rows of a state, or of its gradient, by the decays of the channels.

    Args:
        state: C x V.
        decays: C numbers.
    """
    for c in range(len(state)):
        decay = decays[c]
        for j in range(state.shape[1]):
            state[c, j] *= decay


@compiled
def accumulate(decays: Numbers, products: Numbers, inverses: Numbers) -> int:
    """Write B and 1 / B of a chunk, and find its end.

    Args:
        decays: a of the tokens that it may have, at most one; L x C.
        products: Memory for B.
        inverses: Memory for 1 / B.

    Returns:
        n.
    """
    tokens, channels = decays.shape
    products[0, :] = ONE
    for t in range(tokens - 1):
        for c in range(channels):
            products[t + 1, c] = products[t, c] * decays[t + 1, c]
    while any_below(products[tokens - 1], LEAST):
        tokens -= 1
    numbers, reciprocals = products[:tokens].reshape(tokens * channels), inverses[:tokens].reshape(tokens * channels)
    for place in range(len(numbers)):
        reciprocals[place] = ONE / numbers[place]
    return tokens


@compiled
def any_below(numbers: Numbers, least: np.float32) -> bool:
    """Tell whether a number is below another one.

    Args:
        numbers: The numbers.
        least: The other one.

    Returns:
        True where one is.
    """
    count = 0
    for place in range(len(numbers)):
        count += numbers[place] < least
    return count > 0


@called(f"int64({PLANE}, {PLANE}, int64, int64, int64, int64, int64, {ROWS})")
def prepare(
    space: Numbers,
    pairs: Numbers,
    first: int,
    most: int,
    kind: int,
    erases: int,
    writes: int,
    transposed: Numbers,
) -> int:
    """Begin a chunk: scale its vectors, and write P and M.

    Args:
        space: The planes, which hold a, q, r, e and k.
        pairs: Memory for P and M.
        first: Its first token.
        most: The end of the last token that there is.
        kind: Of the decays.
        erases: Whether there are r and e.
        writes: Whether there is k beside e, or in its place.
        transposed: Memory for C x L numbers.

    Returns:
        The end of its last token.
    """
    last = min(first + CHUNK, most)
    if kind != NONE:
        last = first + accumulate(space[A, first:last], space[B, first:last], space[DA, first:last])
        multiply(space[Q, first:last], space[B, first:last])
        if erases:
            multiply(space[R, first:last], space[B, first:last])
            multiply(space[E, first:last], space[DA, first:last])
        if writes:
            multiply(space[K, first:last], space[DA, first:last])
    n = last - first
    for which in range(2):
        if writes if which else erases:
            transpose(space[E + which, first:last], transposed[:, :n])
            reads = pairs[P + which, first:last, :n]
            product(space[Q, first:last], transposed[:, :n], ONE, ZERO, reads)
            keep_earlier(reads, 1)
            if erases:
                removals = pairs[M + which, first:last, :n]
                product(space[R, first:last], transposed[:, :n], ONE, ZERO, removals)
                keep_earlier(removals, 0)
    return last


@called(f"void({ANY_ROWS}, {ROWS})")
def solve(removals: Numbers, changes: Numbers) -> None:
    """Turn rows X into the D with D + M D = X; four earlier rows at a time, so that a row is read once for them.

    Args:
        removals: M, n x n.
        changes: X, n x V.
    """
    columns = changes.shape[1]
    for t in range(len(changes)):
        for s in range(0, t - 3, 4):
            f0, f1, f2, f3 = removals[t, s], removals[t, s + 1], removals[t, s + 2], removals[t, s + 3]
            for j in range(columns):
                earlier = f0 * changes[s, j] + f1 * changes[s + 1, j] + f2 * changes[s + 2, j] + f3 * changes[s + 3, j]
                changes[t, j] -= earlier
        for s in range(t // 4 * 4, t):
            f0 = removals[t, s]
            for j in range(columns):
                changes[t, j] -= f0 * changes[s, j]


@called(f"void({ANY_ROWS}, {ROWS})")
def solve_back(removals: Numbers, changes: Numbers) -> None:
    """Turn rows X into the W with W + M^T W = X, likewise.

    Args:
        removals: M, n x n.
        changes: X, n x V.
    """
    columns, last = changes.shape[1], len(changes)
    for place in range(last - 1):
        t = last - 2 - place
        fours = (last - 1 - t) // 4
        for four in range(fours):
            u = t + 1 + 4 * four
            f0, f1, f2, f3 = removals[u, t], removals[u + 1, t], removals[u + 2, t], removals[u + 3, t]
            for j in range(columns):
                later = f0 * changes[u, j] + f1 * changes[u + 1, j] + f2 * changes[u + 2, j] + f3 * changes[u + 3, j]
                changes[t, j] -= later
        for u in range(t + 1 + 4 * fours, last):
            f0 = removals[u, t]
            for j in range(columns):
                changes[t, j] -= f0 * changes[u, j]


@called(f"void({ROWS}, {PLANE}, {PLANE}, int64, int64, {ROWS}, {ROWS}, {ROWS}, int64, int64, int64, int64)")
def advance(
    state: Numbers,
    space: Numbers,
    pairs: Numbers,
    first: int,
    last: int,
    values: Numbers,
    changes: Numbers,
    out: Numbers,
    kind: int,
    erases: int,
    writes: int,
    reads: int,
) -> None:
    """Turn S into that of the next chunk, but for the decay of its first token, and write D and O.

    Args:
        state: S, C x V.
        space: The planes.
        pairs: P and M.
        first: The first token of the chunk.
        last: The end of its last one.
        values: V of all tokens.
        changes: Memory for D.
        out: Memory for O.
        kind: Of the decays.
        erases: Whether there are r and e.
        writes: Whether there is k beside e, or in its place.
        reads: Whether O is written.
    """
    n, value, change = last - first, values[first:last], changes[first:last]
    if erases:
        if writes:
            product(pairs[M + 1, first:last, :n], value, -ONE, ZERO, change)
        else:
            for t in range(n):
                for j in range(value.shape[1]):
                    change[t, j] = value[t, j]
        product(space[R, first:last], state, -ONE, ONE, change)
        solve(pairs[M, first:last, :n], change)
    if reads:
        product(space[Q, first:last], state, ONE, ZERO, out[first:last])
        if erases:
            product(pairs[P, first:last, :n], change, ONE, ONE, out[first:last])
        if writes:
            product(pairs[P + 1, first:last, :n], value, ONE, ONE, out[first:last])
    if erases:
        product(space[E, first:last].T, change, ONE, ONE, state)
    if writes:
        product(space[K, first:last].T, value, ONE, ONE, state)
    if kind != NONE:
        decay_state(state, space[B, last - 1])
