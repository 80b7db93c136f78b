"""One token of a recurrence, forth and back, as loops that the compiler turns into vector instructions.

In the notation of :mod:`attnlab.attention.ops.recurrence`, with ``S' = Diag(a) S_(t-1)``:

    S_t = S' + e d^T + k v^T,   d = -S'^T r;   where k = e the two terms are one, e d^T with d = v - S'^T r

With G the gradient of S_t, which is ``q do^T`` and what later tokens add,

    dq = S_t do,   de = G d,   dk = G v,   dd = G^T e,   dv = G^T k, or dd where k = e
    G' = G - r dd^T,   dr = -S' dd

and the gradient of S_(t-1) is ``Diag(a) G'``. That of log a is p_t, the row sums of G' o S'. With the products above,

    p_t = p_(t+1) + q o dq - e o de - k o dk + r o dr

where p_(t+1) is what later tokens add to the row sums of G o S_t, so that no sum over a state is needed for it. Columns
of a state, one for each number of v, do not depend on each other. A group of them is computed side by side in vector
registers: a sum over the channels of a key is then a sum of vectors, without a sum over the numbers of one, which takes
longer than its products. The gradients of q, r, e and k are sums over columns. Four rows are computed together, so that
a vector is read once for them.

Letters  C channels of keys, a multiple of four, L columns of a group.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loops import Numbers, inlined

ROWS = 4
"""Rows of a state that are computed together; C is a multiple of it."""
VECTORS = 10
"""Vectors of a token, of C numbers each: a, q, r, e, k, and in the same order their gradients."""
ZERO, ONE = np.float32(0), np.float32(1)


@inlined
def advance(
    state: Numbers,
    token: Numbers,
    values: Numbers,
    changes: Numbers,
    out: Numbers,
    decays: bool,
    erases: bool,
    separate: bool,
    channels: int,
    group: int,
) -> None:
    """Turn some columns of S_(t-1) into those of S_t, and write their d and o.

    Args:
        state: C L numbers.
        token: The vectors of the token, 10 C numbers.
        values: v, L numbers.
        changes: L numbers for d.
        out: L numbers for o.
        decays: Whether there is a; without it a is 1.
        erases: Whether there are r and e; without them there is k.
        separate: Whether there is k beside e.
        channels: C.
        group: L, a constant of the code.
    """
    L, L2, L3 = group, 2 * group, 3 * group
    a, q, r = token[:channels], token[channels : 2 * channels], token[2 * channels : 3 * channels]
    e, k = token[3 * channels : 4 * channels], token[4 * channels : 5 * channels]
    for j in range(L):
        changes[j] = ZERO if separate else values[j]
        out[j] = ZERO
    if erases:
        for c in range(0, channels, ROWS):
            s = state[c * L : (c + ROWS) * L]
            r0, r1, r2, r3 = r[c], r[c + 1], r[c + 2], r[c + 3]
            if decays:
                r0, r1, r2, r3 = a[c] * r0, a[c + 1] * r1, a[c + 2] * r2, a[c + 3] * r3
            for j in range(L):
                changes[j] -= r0 * s[j] + r1 * s[j + L] + r2 * s[j + L2] + r3 * s[j + L3]
    for c in range(0, channels, ROWS):
        s = state[c * L : (c + ROWS) * L]
        q0, q1, q2, q3 = q[c], q[c + 1], q[c + 2], q[c + 3]
        e0, e1, e2, e3 = e[c], e[c + 1], e[c + 2], e[c + 3]
        k0, k1, k2, k3 = k[c], k[c + 1], k[c + 2], k[c + 3]
        a0, a1, a2, a3 = a[c], a[c + 1], a[c + 2], a[c + 3]
        if not decays:
            a0 = a1 = a2 = a3 = ONE
        if not erases:
            for j in range(L):
                v = values[j]
                n0, n1 = a0 * s[j] + k0 * v, a1 * s[j + L] + k1 * v
                n2, n3 = a2 * s[j + L2] + k2 * v, a3 * s[j + L3] + k3 * v
                s[j], s[j + L], s[j + L2], s[j + L3] = n0, n1, n2, n3
                out[j] += q0 * n0 + q1 * n1 + q2 * n2 + q3 * n3
        elif separate:
            for j in range(L):
                d, v = changes[j], values[j]
                n0, n1 = a0 * s[j] + e0 * d + k0 * v, a1 * s[j + L] + e1 * d + k1 * v
                n2, n3 = a2 * s[j + L2] + e2 * d + k2 * v, a3 * s[j + L3] + e3 * d + k3 * v
                s[j], s[j + L], s[j + L2], s[j + L3] = n0, n1, n2, n3
                out[j] += q0 * n0 + q1 * n1 + q2 * n2 + q3 * n3
        else:
            for j in range(L):
                d = changes[j]
                n0, n1 = a0 * s[j] + e0 * d, a1 * s[j + L] + e1 * d
                n2, n3 = a2 * s[j + L2] + e2 * d, a3 * s[j + L3] + e3 * d
                s[j], s[j + L], s[j + L2], s[j + L3] = n0, n1, n2, n3
                out[j] += q0 * n0 + q1 * n1 + q2 * n2 + q3 * n3


@inlined
def retreat(
    state: Numbers,
    grads: Numbers,
    token: Numbers,
    values: Numbers,
    value_grads: Numbers,
    changes: Numbers,
    change_grads: Numbers,
    out_grads: Numbers,
    decays: bool,
    erases: bool,
    separate: bool,
    channels: int,
    group: int,
) -> None:
    """Turn what later tokens add to G into the gradient of S_(t-1), and write that of v; for some columns.

    Args:
        state: S_(t-1), C L numbers.
        grads: G but for this token, C L numbers.
        token: The vectors of the token, 10 C numbers; what these columns add to their gradients is added.
        values: v, L numbers.
        value_grads: L numbers for dv.
        changes: d, L numbers.
        change_grads: L numbers for dd.
        out_grads: do, L numbers.
        decays: Whether there is a; without it a is 1, and has no gradient.
        erases: Whether there are r and e; without them there is k.
        separate: Whether there is k beside e.
        channels: C.
        group: L, a constant of the code.
    """
    L, L2, L3 = group, 2 * group, 3 * group
    a, q, r = token[:channels], token[channels : 2 * channels], token[2 * channels : 3 * channels]
    e, k = token[3 * channels : 4 * channels], token[4 * channels : 5 * channels]
    dq, dr = token[6 * channels : 7 * channels], token[7 * channels : 8 * channels]
    de, dk = token[8 * channels : 9 * channels], token[9 * channels : 10 * channels]
    by_change = by_value = ZERO
    for j in range(L):
        value_grads[j] = change_grads[j] = ZERO
        by_value += out_grads[j] * values[j]
        if erases:
            by_change += out_grads[j] * changes[j]
    for c in range(0, channels, ROWS):
        s, g = state[c * L : (c + ROWS) * L], grads[c * L : (c + ROWS) * L]
        a0, a1, a2, a3 = a[c], a[c + 1], a[c + 2], a[c + 3]
        q0, q1, q2, q3 = q[c], q[c + 1], q[c + 2], q[c + 3]
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = z0 = z1 = z2 = z3 = ZERO
        if not decays:
            a0 = a1 = a2 = a3 = ONE
        if erases:
            e0, e1, e2, e3 = e[c], e[c + 1], e[c + 2], e[c + 3]
            for j in range(L):
                o, d = out_grads[j], changes[j]
                g0, g1, g2, g3 = g[j] + q0 * o, g[j + L] + q1 * o, g[j + L2] + q2 * o, g[j + L3] + q3 * o
                g[j], g[j + L], g[j + L2], g[j + L3] = g0, g1, g2, g3
                x0, x1, x2, x3 = x0 + o * s[j], x1 + o * s[j + L], x2 + o * s[j + L2], x3 + o * s[j + L3]
                y0, y1, y2, y3 = y0 + d * g0, y1 + d * g1, y2 + d * g2, y3 + d * g3
                change_grads[j] += e0 * g0 + e1 * g1 + e2 * g2 + e3 * g3
            de[c], de[c + 1], de[c + 2], de[c + 3] = de[c] + y0, de[c + 1] + y1, de[c + 2] + y2, de[c + 3] + y3
            if separate:
                k0, k1, k2, k3 = k[c], k[c + 1], k[c + 2], k[c + 3]
                for j in range(L):
                    v, g0, g1, g2, g3 = values[j], g[j], g[j + L], g[j + L2], g[j + L3]
                    z0, z1, z2, z3 = z0 + v * g0, z1 + v * g1, z2 + v * g2, z3 + v * g3
                    value_grads[j] += k0 * g0 + k1 * g1 + k2 * g2 + k3 * g3
                dk[c], dk[c + 1], dk[c + 2], dk[c + 3] = dk[c] + z0, dk[c + 1] + z1, dk[c + 2] + z2, dk[c + 3] + z3
        else:
            k0, k1, k2, k3 = k[c], k[c + 1], k[c + 2], k[c + 3]
            for j in range(L):
                o, v, s0, s1, s2, s3 = out_grads[j], values[j], s[j], s[j + L], s[j + L2], s[j + L3]
                g0, g1, g2, g3 = g[j] + q0 * o, g[j + L] + q1 * o, g[j + L2] + q2 * o, g[j + L3] + q3 * o
                x0, x1, x2, x3 = x0 + o * s0, x1 + o * s1, x2 + o * s2, x3 + o * s3
                y0, y1, y2, y3 = y0 + v * g0, y1 + v * g1, y2 + v * g2, y3 + v * g3
                value_grads[j] += k0 * g0 + k1 * g1 + k2 * g2 + k3 * g3
                g[j], g[j + L], g[j + L2], g[j + L3] = a0 * g0, a1 * g1, a2 * g2, a3 * g3
            dk[c], dk[c + 1], dk[c + 2], dk[c + 3] = dk[c] + y0, dk[c + 1] + y1, dk[c + 2] + y2, dk[c + 3] + y3
        dq[c], dq[c + 1] = dq[c] + a0 * x0, dq[c + 1] + a1 * x1
        dq[c + 2], dq[c + 3] = dq[c + 2] + a2 * x2, dq[c + 3] + a3 * x3
    if erases:
        for c in range(0, channels, ROWS):
            s, g = state[c * L : (c + ROWS) * L], grads[c * L : (c + ROWS) * L]
            a0, a1, a2, a3 = a[c], a[c + 1], a[c + 2], a[c + 3]
            r0, r1, r2, r3 = r[c], r[c + 1], r[c + 2], r[c + 3]
            x0 = x1 = x2 = x3 = ZERO
            if decays:
                r0, r1, r2, r3 = a0 * r0, a1 * r1, a2 * r2, a3 * r3
            else:
                a0 = a1 = a2 = a3 = ONE
            for j in range(L):
                d = change_grads[j]
                x0, x1, x2, x3 = x0 + d * s[j], x1 + d * s[j + L], x2 + d * s[j + L2], x3 + d * s[j + L3]
                n0, n1 = a0 * g[j] - r0 * d, a1 * g[j + L] - r1 * d
                n2, n3 = a2 * g[j + L2] - r2 * d, a3 * g[j + L3] - r3 * d
                g[j], g[j + L], g[j + L2], g[j + L3] = n0, n1, n2, n3
            dr[c], dr[c + 1] = dr[c] - a0 * x0, dr[c + 1] - a1 * x1
            dr[c + 2], dr[c + 3] = dr[c + 2] - a2 * x2, dr[c + 3] - a3 * x3
        for c in range(channels):
            dq[c] += e[c] * by_change  # what the token itself wrote is read by its query
        if not separate:
            for j in range(L):
                value_grads[j] = change_grads[j]
    if separate or not erases:
        for c in range(channels):
            dq[c] += k[c] * by_value


@inlined
def add_decay_grads(token: Numbers, sums: Numbers, channels: int) -> None:
    """Turn p_(t+1) into p_t, and write it as the gradient of log a; the other gradients of the token are known.

    Args:
        token: The vectors of the token, 10 C numbers.
        sums: p, C numbers.
        channels: C.
    """
    a, q, r = token[:channels], token[channels : 2 * channels], token[2 * channels : 3 * channels]
    e, k = token[3 * channels : 4 * channels], token[4 * channels : 5 * channels]
    da, dq = token[5 * channels : 6 * channels], token[6 * channels : 7 * channels]
    dr, de, dk = (
        token[7 * channels : 8 * channels],
        token[8 * channels : 9 * channels],
        token[9 * channels : 10 * channels],
    )
    for c in range(channels):
        total = sums[c] + q[c] * dq[c] - e[c] * de[c] - k[c] * dk[c] + r[c] * dr[c]
        sums[c] = da[c] = total if a[c] > ZERO else ZERO  # nothing is left of the state; rounding would be
