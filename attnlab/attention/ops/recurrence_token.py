"""One token of a recurrence, forth and back, as loops that the compiler turns into vector instructions.

In the notation of :mod:`attnlab.attention.ops.recurrence`, with ``S' = Diag(a) S_(t-1)``:

    S_t = S' + e d^T + k v^T,   d = -S'^T r;   where k = e the two terms are one, e d^T with d = v - S'^T r

With G the gradient of S_t, which is ``q do^T`` and what later tokens add,

    dq = S_t do,   de = G d,   dk = G v,   dd = G^T e,   dv = G^T k, or dd where k = e
    G' = G - r dd^T,   dr = -S' dd,   da = the row sums of G' o S_(t-1)

and the gradient of S_(t-1) is ``Diag(a) G'``. Memory holds a state transposed: rows of values do not depend on each
other, and four of them are computed together. The vectors of a token lie in one array, and the rows of a state in
another, at distances that are constants of the compiled code, since both functions become part of it: that they do not
overlap is then known to the compiler.

Letters  C channels of keys, P of them with padding, V rows of values with padding.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loops import Numbers, inlined

ROWS = 4
"""Rows of values that are computed together; V is a multiple of it."""
VECTORS = 10
"""Vectors of a token, of P numbers each: a, q, r, e, k, and in the same order their gradients."""
ZERO = np.float32(0)


@inlined
def advance(
    state: Numbers,
    token: Numbers,
    values: Numbers,
    changes: Numbers,
    out: Numbers,
    erases: bool,
    separate: bool,
    padded: int,
) -> None:
    """Turn S_(t-1) into S_t, and write d and o.

    Args:
        state: V P numbers.
        token: The vectors of the token, 10 P numbers.
        values: v, V numbers.
        changes: V numbers for d.
        out: V numbers for o.
        erases: Whether there are r and e; without them there is k.
        separate: Whether there is k beside e.
        padded: P, a constant of the code.
    """
    P, P2, P3 = padded, 2 * padded, 3 * padded
    Q, R, E, K = padded, 2 * padded, 3 * padded, 4 * padded
    for d in range(0, len(values), ROWS):
        s = state[d * P : (d + ROWS) * P]
        x0, x1, x2, x3 = values[d], values[d + 1], values[d + 2], values[d + 3]
        o0 = o1 = o2 = o3 = ZERO
        if erases:
            d0 = d1 = d2 = d3 = ZERO
            for c in range(P):
                a, r = token[c], token[c + R]
                n0, n1, n2, n3 = a * s[c], a * s[c + P], a * s[c + P2], a * s[c + P3]
                s[c], s[c + P], s[c + P2], s[c + P3] = n0, n1, n2, n3
                d0, d1, d2, d3 = d0 - r * n0, d1 - r * n1, d2 - r * n2, d3 - r * n3
            if separate:
                for c in range(P):
                    q, e, k = token[c + Q], token[c + E], token[c + K]
                    n0, n1 = s[c] + e * d0 + k * x0, s[c + P] + e * d1 + k * x1
                    n2, n3 = s[c + P2] + e * d2 + k * x2, s[c + P3] + e * d3 + k * x3
                    s[c], s[c + P], s[c + P2], s[c + P3] = n0, n1, n2, n3
                    o0, o1, o2, o3 = o0 + q * n0, o1 + q * n1, o2 + q * n2, o3 + q * n3
            else:
                d0, d1, d2, d3 = x0 + d0, x1 + d1, x2 + d2, x3 + d3
                for c in range(P):
                    q, e = token[c + Q], token[c + E]
                    n0, n1, n2, n3 = s[c] + e * d0, s[c + P] + e * d1, s[c + P2] + e * d2, s[c + P3] + e * d3
                    s[c], s[c + P], s[c + P2], s[c + P3] = n0, n1, n2, n3
                    o0, o1, o2, o3 = o0 + q * n0, o1 + q * n1, o2 + q * n2, o3 + q * n3
            changes[d], changes[d + 1], changes[d + 2], changes[d + 3] = d0, d1, d2, d3
        else:
            for c in range(P):
                a, q, k = token[c], token[c + Q], token[c + K]
                n0, n1 = a * s[c] + k * x0, a * s[c + P] + k * x1
                n2, n3 = a * s[c + P2] + k * x2, a * s[c + P3] + k * x3
                s[c], s[c + P], s[c + P2], s[c + P3] = n0, n1, n2, n3
                o0, o1, o2, o3 = o0 + q * n0, o1 + q * n1, o2 + q * n2, o3 + q * n3
        out[d], out[d + 1], out[d + 2], out[d + 3] = o0, o1, o2, o3


@inlined
def retreat(
    state: Numbers,
    grads: Numbers,
    token: Numbers,
    values: Numbers,
    value_grads: Numbers,
    changes: Numbers,
    out_grads: Numbers,
    erases: bool,
    separate: bool,
    padded: int,
) -> None:
    """Turn what later tokens add to G into the gradient of S_(t-1), and write those of the token and of v.

    Args:
        state: S_(t-1), V P numbers.
        grads: G but for this token, V P numbers.
        token: The vectors of the token, 10 P numbers; their gradients are written.
        values: v, V numbers.
        value_grads: V numbers for dv.
        changes: d, V numbers.
        out_grads: do, V numbers.
        erases: Whether there are r and e; without them there is k.
        separate: Whether there is k beside e.
        padded: P, a constant of the code.
    """
    P, P2, P3 = padded, 2 * padded, 3 * padded
    Q, R, E, K = padded, 2 * padded, 3 * padded, 4 * padded
    DA, DQ, DR, DE, DK = 5 * padded, 6 * padded, 7 * padded, 8 * padded, 9 * padded
    by_change = by_value = ZERO
    for c in range(DA, VECTORS * P):
        token[c] = ZERO
    for d in range(0, len(values), ROWS):
        s, g = state[d * P : (d + ROWS) * P], grads[d * P : (d + ROWS) * P]
        x0, x1, x2, x3 = values[d], values[d + 1], values[d + 2], values[d + 3]
        o0, o1, o2, o3 = out_grads[d], out_grads[d + 1], out_grads[d + 2], out_grads[d + 3]
        by_value += o0 * x0 + o1 * x1 + o2 * x2 + o3 * x3
        v0 = v1 = v2 = v3 = ZERO
        if erases:
            d0, d1, d2, d3 = changes[d], changes[d + 1], changes[d + 2], changes[d + 3]
            by_change += o0 * d0 + o1 * d1 + o2 * d2 + o3 * d3
            z0 = z1 = z2 = z3 = ZERO  # dd
            for c in range(P):
                a, q, e = token[c], token[c + Q], token[c + E]
                n0, n1, n2, n3 = g[c] + q * o0, g[c + P] + q * o1, g[c + P2] + q * o2, g[c + P3] + q * o3
                g[c], g[c + P], g[c + P2], g[c + P3] = n0, n1, n2, n3
                token[c + DQ] += a * (o0 * s[c] + o1 * s[c + P] + o2 * s[c + P2] + o3 * s[c + P3])
                token[c + DE] += d0 * n0 + d1 * n1 + d2 * n2 + d3 * n3
                z0, z1, z2, z3 = z0 + e * n0, z1 + e * n1, z2 + e * n2, z3 + e * n3
            if separate:
                for c in range(P):
                    k, n0, n1, n2, n3 = token[c + K], g[c], g[c + P], g[c + P2], g[c + P3]
                    token[c + DK] += x0 * n0 + x1 * n1 + x2 * n2 + x3 * n3
                    v0, v1, v2, v3 = v0 + k * n0, v1 + k * n1, v2 + k * n2, v3 + k * n3
            else:
                v0, v1, v2, v3 = z0, z1, z2, z3
            for c in range(P):
                a, r, s0, s1, s2, s3 = token[c], token[c + R], s[c], s[c + P], s[c + P2], s[c + P3]
                n0, n1, n2, n3 = g[c] - r * z0, g[c + P] - r * z1, g[c + P2] - r * z2, g[c + P3] - r * z3
                token[c + DR] -= a * (s0 * z0 + s1 * z1 + s2 * z2 + s3 * z3)
                token[c + DA] += n0 * s0 + n1 * s1 + n2 * s2 + n3 * s3
                g[c], g[c + P], g[c + P2], g[c + P3] = a * n0, a * n1, a * n2, a * n3
        else:
            for c in range(P):
                a, q, k, s0, s1, s2, s3 = token[c], token[c + Q], token[c + K], s[c], s[c + P], s[c + P2], s[c + P3]
                n0, n1, n2, n3 = g[c] + q * o0, g[c + P] + q * o1, g[c + P2] + q * o2, g[c + P3] + q * o3
                token[c + DQ] += a * (s0 * o0 + s1 * o1 + s2 * o2 + s3 * o3)
                token[c + DK] += x0 * n0 + x1 * n1 + x2 * n2 + x3 * n3
                token[c + DA] += n0 * s0 + n1 * s1 + n2 * s2 + n3 * s3
                v0, v1, v2, v3 = v0 + k * n0, v1 + k * n1, v2 + k * n2, v3 + k * n3
                g[c], g[c + P], g[c + P2], g[c + P3] = a * n0, a * n1, a * n2, a * n3
        value_grads[d], value_grads[d + 1], value_grads[d + 2], value_grads[d + 3] = v0, v1, v2, v3
    for c in range(P):  # what the token itself wrote is read by its query
        if erases:
            token[c + DQ] += token[c + E] * by_change
        if separate or not erases:
            token[c + DQ] += token[c + K] * by_value
