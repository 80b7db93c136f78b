"""The systems of :mod:`attnlab.attention.ops.least_squares` by compiled loops, of many heads at a time.

A system is small and its factorization is a chain, so that one alone leaves the units of a processor idle. Each
head of a sequence has a place on the last axis of all memory: a number of its system lies beside the same number of
other heads, and every operation is done for all of them. Systems are symmetric; the half with j >= i is held.

    F = L D L^T:  in place row p becomes D_p L_ip for i >= p;  x = L^-T D^-1 L^-1 q

The way back begins with the sums before each segment of tokens, and computes those within a segment a second time. The
inner loops are short and apart from each other, since the compiler must find that the arrays of each do not overlap.

Letters  B batch, H heads, T tokens, C channels.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loop_math import FOUR, HALF, ONE, THREE, ZERO
from attnlab.attention.ops.loops import Integers, Numbers, compiled, loop

PLACES = 32
"""Heads of sequences that are computed together."""
SEGMENT = 16
"""Tokens of which the sums are held at a time on the way back, at least."""
INDICES = "int64[:, :]"


@compiled
def _gather(tensor: Numbers, indices: Integers, token: int, out: Numbers) -> None:
    """Copy the channels of a token of each head to its place."""
    heads = tensor.shape[1]
    for place in range(len(indices)):
        one = tensor[indices[place, 0] // heads, indices[place, 0] % heads, token]
        for c in range(len(out)):
            out[c, place] = one[c]


@compiled
def _scatter(places: Numbers, indices: Integers, token: int, tensor: Numbers) -> None:
    """Copy the place of each head to the channels of a token."""
    heads = tensor.shape[1]
    for place in range(len(indices)):
        one = tensor[indices[place, 0] // heads, indices[place, 0] % heads, token]
        for c in range(len(places)):
            one[c] = places[c, place]


@compiled
def _advance(before: Numbers, key: Numbers, strength: Numbers, decay: Numbers, scaled: Numbers, after: Numbers) -> None:
    """Write ``G = a G + b k k^T``; both may be the same memory."""
    for i in range(len(key)):
        for place in range(PLACES):
            scaled[place] = strength[place] * key[i, place]
        for j in range(i, len(key)):
            old, new, other = before[i, j], after[i, j], key[j]
            for place in range(PLACES):
                new[place] = decay[place] * old[place] + scaled[place] * other[place]


@compiled
def _factor(sums: Numbers, ridge: Numbers, system: Numbers, inverses: Numbers, shares: Numbers) -> None:
    """Write the rows of ``D L^T`` and 1 / D of ``G + Diag(l)``, two columns of L at a time."""
    channels, first, second = len(ridge), shares[0], shares[1]
    for i in range(channels):
        for j in range(i, channels):
            number, copied = sums[i, j], system[i, j]
            for place in range(PLACES):
                copied[place] = number[place]
        for place in range(PLACES):
            system[i, i, place] += ridge[i, place]
    for p in range(0, channels - 1, 2):
        top, below = system[p], system[p + 1]
        for place in range(PLACES):
            inverses[p, place] = ONE / top[p, place]
        for place in range(PLACES):
            first[place] = top[p + 1, place] * inverses[p, place]
        for j in range(p + 1, channels):
            number, one = below[j], top[j]
            for place in range(PLACES):
                number[place] -= first[place] * one[place]
        for place in range(PLACES):
            inverses[p + 1, place] = ONE / below[p + 1, place]
        for i in range(p + 2, channels):
            for place in range(PLACES):
                first[place] = top[i, place] * inverses[p, place]
            for place in range(PLACES):
                second[place] = below[i, place] * inverses[p + 1, place]
            row = system[i]
            for j in range(i, channels):
                number, one, two = row[j], top[j], below[j]
                for place in range(PLACES):
                    number[place] -= first[place] * one[place] + second[place] * two[place]
    if channels % 2:
        for place in range(PLACES):
            inverses[channels - 1, place] = ONE / system[channels - 1, channels - 1, place]


@compiled
def _solve(system: Numbers, inverses: Numbers, right: Numbers, share: Numbers) -> None:
    """Replace a right side by the solution."""
    channels = len(right)
    for p in range(channels):
        for place in range(PLACES):
            share[place] = right[p, place] * inverses[p, place]
        for i in range(p + 1, channels):
            number, one = right[i], system[p, i]
            for place in range(PLACES):
                number[place] -= share[place] * one[place]
    for p in range(channels - 1, -1, -1):
        number = right[p]
        for j in range(p + 1, channels):
            one, known = system[p, j], right[j]
            for place in range(PLACES):
                number[place] -= one[place] * known[place]
        for place in range(PLACES):
            number[place] *= inverses[p, place]


@compiled
def _retreat(
    slopes: Numbers,
    before: Numbers,
    key: Numbers,
    solution: Numbers,
    query_grad: Numbers,
    decay: Numbers,
    key_grad: Numbers,
    decay_grad: Numbers,
) -> None:
    """Add what the token reads to the gradient of G, write those of a and of k but for b, and decay it."""
    channels = len(key)
    for i in range(channels):
        x, y, k, v = solution[i], query_grad[i], key[i], key_grad[i]
        slope, old = slopes[i, i], before[i, i]
        for place in range(PLACES):  # a number on the diagonal stands for itself, any other for two
            slope[place] -= x[place] * y[place]
        for place in range(PLACES):
            v[place] += (slope[place] + slope[place]) * k[place]
        for j in range(i + 1, channels):
            slope, x_j, y_j = slopes[i, j], solution[j], query_grad[j]
            for place in range(PLACES):
                slope[place] -= x[place] * y_j[place] + y[place] * x_j[place]
            k_j, v_j = key[j], key_grad[j]
            for place in range(PLACES):
                v[place] += slope[place] * k_j[place]
            for place in range(PLACES):
                v_j[place] += slope[place] * k[place]
        for j in range(i, channels):
            slope, old = slopes[i, j], before[i, j]
            for place in range(PLACES):
                decay_grad[place] += slope[place] * old[place]
            for place in range(PLACES):
                slope[place] *= decay[place]


@loop(f"void({INDICES}, {', '.join([FOUR] * 4)}, {THREE}, {FOUR})")
def forward(
    indices: Integers,
    queries: Numbers,
    keys: Numbers,
    strengths: Numbers,
    decays: Numbers,
    ridge: Numbers,
    solutions: Numbers,
) -> None:
    """Write x.

    Args:
        indices: The heads of sequences that are computed, as their indices among all B x H; one column.
        queries: q, B x H x T x C.
        keys: k.
        strengths: b, of one channel.
        decays: a, of one channel.
        ridge: l, B x H x C.
        solutions: x.
    """
    _, heads, tokens, channels = queries.shape
    sums = np.empty((channels, channels, PLACES), np.float32)
    system, shares = np.empty_like(sums), np.empty((2, PLACES), np.float32)
    vectors, numbers = np.empty((4, channels, PLACES), np.float32), np.empty((2, 1, PLACES), np.float32)
    key, solution, floor, inverses = vectors[0], vectors[1], vectors[2], vectors[3]
    for start in range(0, len(indices), PLACES):
        group = indices[start : start + PLACES]
        sums[:], vectors[:], numbers[:], floor[:] = ZERO, ZERO, ZERO, ONE
        for place in range(len(group)):
            for c in range(channels):
                floor[c, place] = ridge[group[place, 0] // heads, group[place, 0] % heads, c]
        for t in range(tokens):
            _gather(keys, group, t, key)
            _gather(queries, group, t, solution)
            _gather(strengths, group, t, numbers[0])
            _gather(decays, group, t, numbers[1])
            _advance(sums, key, numbers[0, 0], numbers[1, 0], shares[0], sums)
            _factor(sums, floor, system, inverses, shares)
            _solve(system, inverses, solution, shares[0])
            _scatter(solution, group, t, solutions)


@loop(f"void({INDICES}, {', '.join([FOUR] * 3)}, {THREE}, {', '.join([FOUR] * 6)}, {THREE}, int64)")
def backward(
    indices: Integers,
    keys: Numbers,
    strengths: Numbers,
    decays: Numbers,
    ridge: Numbers,
    solutions: Numbers,
    grads: Numbers,
    query_grads: Numbers,
    key_grads: Numbers,
    strength_grads: Numbers,
    decay_grads: Numbers,
    ridge_grads: Numbers,
    segment: int,
) -> None:
    """Write the gradients, with y = F^-1 dx: dq = y, and that of F is -y x^T.

    Args:
        indices: The heads of sequences that are computed, as their indices among all B x H; one column.
        keys: k, B x H x T x C.
        strengths: b, of one channel.
        decays: a, of one channel.
        ridge: l, B x H x C.
        solutions: x.
        grads: dx.
        query_grads: dq.
        key_grads: dk.
        strength_grads: db.
        decay_grads: da.
        ridge_grads: dl.
        segment: The tokens of a segment.
    """
    _, heads, tokens, channels = keys.shape
    held, parts = min(segment, tokens), (tokens + segment - 1) // segment
    starts = np.empty((parts, channels, channels, PLACES), np.float32)
    sums, slopes = np.empty((held, channels, channels, PLACES), np.float32), np.empty_like(starts[0])
    system, shares = np.empty_like(slopes), np.empty((2, PLACES), np.float32)
    vectors, numbers = np.empty((7, channels, PLACES), np.float32), np.empty((4, 1, PLACES), np.float32)
    key, solution, floor, inverses = vectors[0], vectors[1], vectors[2], vectors[3]
    query_grad, key_grad, ridge_grad = vectors[4], vectors[5], vectors[6]
    strength, decay, strength_grad, decay_grad = numbers[0], numbers[1], numbers[2], numbers[3]
    for start in range(0, len(indices), PLACES):
        group = indices[start : start + PLACES]
        starts[0], slopes[:], vectors[:], numbers[:], floor[:] = ZERO, ZERO, ZERO, ZERO, ONE
        for place in range(len(group)):
            for c in range(channels):
                floor[c, place] = ridge[group[place, 0] // heads, group[place, 0] % heads, c]
        for t in range((parts - 1) * segment):
            part = t // segment
            _gather(keys, group, t, key)
            _gather(strengths, group, t, strength)
            _gather(decays, group, t, decay)
            before, after = starts[part + (t % segment > 0)], starts[part + 1]
            _advance(before, key, strength[0], decay[0], shares[0], after)
        for part in range(parts - 1, -1, -1):
            first, last = part * segment, min(part * segment + segment, tokens)
            for t in range(first, last):
                _gather(keys, group, t, key)
                _gather(strengths, group, t, strength)
                _gather(decays, group, t, decay)
                before = sums[t - first - 1] if t > first else starts[part]
                _advance(before, key, strength[0], decay[0], shares[0], sums[t - first])
            for t in range(last - 1, first - 1, -1):
                _gather(keys, group, t, key)
                _gather(strengths, group, t, strength)
                _gather(decays, group, t, decay)
                _gather(solutions, group, t, solution)
                _gather(grads, group, t, query_grad)
                _factor(sums[t - first], floor, system, inverses, shares)
                _solve(system, inverses, query_grad, shares[0])
                before = sums[t - first - 1] if t > first else starts[part]
                key_grad[:], decay_grad[:], strength_grad[:] = ZERO, ZERO, ZERO
                _retreat(slopes, before, key, solution, query_grad, decay[0], key_grad, decay_grad[0])
                for c in range(channels):
                    for place in range(PLACES):
                        ridge_grad[c, place] -= query_grad[c, place] * solution[c, place]
                    for place in range(PLACES):
                        strength_grad[0, place] += key[c, place] * key_grad[c, place] * HALF
                    for place in range(PLACES):
                        key_grad[c, place] *= strength[0, place]
                _scatter(query_grad, group, t, query_grads)
                _scatter(key_grad, group, t, key_grads)
                _scatter(strength_grad, group, t, strength_grads)
                _scatter(decay_grad, group, t, decay_grads)
        for place in range(len(group)):
            for c in range(channels):
                ridge_grads[group[place, 0] // heads, group[place, 0] % heads, c] = ridge_grad[c, place]
