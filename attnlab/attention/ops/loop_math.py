"""What compiled loops call: products by BLAS, exponentials, and the softmax of rows that lie in the cache of a core.

A block of rows holds the scores of all keys up to its last query, so that a softmax needs no second pass over keys.
Scores of later keys are set to zero, and what follows are whole products.

Letters  R rows of a block, S keys, C channels.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loops import PRODUCT, Integers, Numbers, called, compiled, sgemm

FOUR, THREE = "float32[:, :, :, :]", "float32[:, :, :]"
"""Types of arrays of four and of three axes, in any layout."""
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
ROWS = 32
"""Rows of a block: few, so that keys after the queries of a block are left out."""
LOWEST = np.float32(-87)
"""Below it an exponential is zero: the smallest normal float32 is that of -87.3."""
LOG2_E, LN_2 = np.float32(1.44269504), np.float32(0.69314718)
POWERS = tuple(np.float32(one) for one in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 0.16666667, 0.5))
"""Coefficients of exp(x) - 1 - x over x^2 for |x| <= log(2) / 2, from the highest power; error 1e-7 (Cephes)."""
P7, P6, P5, P4, P3, P2 = POWERS
EXPONENT, BIAS, SIGN, REST = np.int32(23), np.int32(127), np.int32(31), np.int32(0x7FFFFFFF)
LEAST = np.int32(-(2**31))

_sgemm = sgemm()


def rows_of_block(queries: Tensor, values: Tensor) -> int:
    """Choose the rows of a block.

    Args:
        queries: ... x C.
        values: ... x V.

    Returns:
        At most ``ROWS``, and so few that BLAS takes a product with at least 64 keys in one thread.
    """
    return max(1, min(ROWS, PRODUCT // (64 * max(queries.shape[-1], values.shape[-1]))))


@compiled
def product(
    left: Numbers, right: Numbers, factor: np.float32, kept: np.float32, out: Numbers, sizes: Integers, factors: Numbers
) -> None:
    """Write ``factor left @ right + kept out``; one axis of each matrix lies side by side, the last one of ``out``.

    BLAS counts along columns, so the transposes are multiplied. ``sizes`` is memory for its arguments: each is an
    address, and the low half of an integer of 64 bits is the same integer of 32 bits.

    Args:
        left: R x S.
        right: S x C.
        factor: Of the product.
        kept: Of what ``out`` holds.
        out: R x C.
        sizes: Memory for the arguments of BLAS, 8 numbers.
        factors: The same, 2 numbers.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    sizes[0], sizes[1], sizes[2] = columns, rows, inner
    plain_right, plain_left = right.strides[1] == 4, left.strides[1] == 4
    sizes[3] = max(right.strides[0] // 4, columns) if plain_right else max(right.strides[1] // 4, inner)
    sizes[4] = max(left.strides[0] // 4, inner) if plain_left else max(left.strides[1] // 4, rows)
    sizes[5] = max(out.strides[0] // 4, columns)
    sizes[6] = 78 if plain_right else 84  # the letters N and T
    sizes[7] = 78 if plain_left else 84
    factors[0], factors[1] = factor, kept
    size, number = sizes.ctypes.data, factors.ctypes.data
    a, b, c = right.ctypes.data, left.ctypes.data, out.ctypes.data
    _sgemm(
        size + 48, size + 56, size, size + 8, size + 16, number, a, size + 24, b, size + 32, number + 4, c, size + 40
    )


@compiled
def transpose(matrix: Numbers, out: Numbers) -> None:
    """Write a matrix with its axes exchanged: BLAS is half as fast if the inner axis of both factors lies side by side.

    Args:
        matrix: R x S.
        out: S x R.
    """
    for row in range(matrix.shape[0]):
        for column in range(matrix.shape[1]):
            out[column, row] = matrix[row, column]


@compiled
def room_to_transpose(channels: int, tokens: int) -> Numbers:
    """Make memory for keys or values with their axes exchanged.

    Args:
        channels: C.
        tokens: S.

    Returns:
        C x S, whose rows lie an odd number of cache lines apart, so that numbers of one token have different places in
        the cache.
    """
    lines = (tokens + 15) // 16
    return np.empty((channels, 16 * (lines + 1 - lines % 2)), np.float32)[:, :tokens]


@called("void(float32[:, :], float32[:, :], float32, float32, float32[:, :], int64[::1], float32[::1])")
def times(
    left: Numbers, right: Numbers, factor: np.float32, kept: np.float32, out: Numbers, sizes: Integers, factors: Numbers
) -> None:
    """Write ``factor left @ right + kept out``, some columns at a time, so that BLAS needs no threads.

    Args:
        left: R x S.
        right: S x C.
        factor: Of the product.
        kept: Of what ``out`` holds.
        out: R x C.
        sizes: Memory for the arguments of BLAS, 8 numbers.
        factors: The same, 2 numbers.
    """
    step = max(1, PRODUCT // (left.shape[0] * left.shape[1]))
    for column in range(0, right.shape[1], step):
        last = min(column + step, right.shape[1])
        product(left, right[:, column:last], factor, kept, out[:, column:last], sizes, factors)


@compiled
def products_with_keys(
    rows: Numbers, keys: Numbers, factor: np.float32, out: Numbers, sizes: Integers, factors: Numbers
) -> None:
    """Write ``factor rows @ keys^T``, R x S, some keys at a time, so that BLAS needs no threads.

    Args:
        rows: R x C.
        keys: S x C.
        factor: Of the products.
        out: R x S.
        sizes: Memory for the arguments of BLAS, 8 numbers.
        factors: The same, 2 numbers.
    """
    step = max(1, PRODUCT // (rows.shape[0] * rows.shape[1]))
    for key in range(0, keys.shape[0], step):
        last = min(key + step, keys.shape[0])
        product(rows, keys[key:last].T, factor, ZERO, out[:, key:last], sizes, factors)


@compiled
def sums_over_keys(
    weights: Numbers,
    values: Numbers,
    factor: np.float32,
    kept: np.float32,
    out: Numbers,
    sizes: Integers,
    factors: Numbers,
) -> None:
    """Write ``factor weights @ values + kept out``, R x C.

    Args:
        weights: R x S.
        values: S x C.
        factor: Of the sums.
        kept: Of what ``out`` holds.
        out: R x C.
        sizes: Memory for the arguments of BLAS, 8 numbers.
        factors: The same, 2 numbers.
    """
    step = max(1, PRODUCT // (weights.shape[0] * values.shape[1]))
    for key in range(0, values.shape[0], step):
        last = min(key + step, values.shape[0])
        share = kept if key == 0 else ONE
        product(weights[:, key:last], values[key:last], factor, share, out, sizes, factors)


@compiled
def sums_over_rows(
    weights: Numbers,
    rows: Numbers,
    factor: np.float32,
    kept: np.float32,
    out: Numbers,
    sizes: Integers,
    factors: Numbers,
) -> None:
    """Write ``factor weights^T @ rows + kept out``, S x C.

    Args:
        weights: R x S.
        rows: R x C.
        factor: Of the sums.
        kept: Of what ``out`` holds.
        out: S x C.
        sizes: Memory for the arguments of BLAS, 8 numbers.
        factors: The same, 2 numbers.
    """
    step = max(1, PRODUCT // (rows.shape[0] * rows.shape[1]))
    for key in range(0, out.shape[0], step):
        last = min(key + step, out.shape[0])
        product(weights[:, key:last].T, rows, factor, kept, out[key:last], sizes, factors)


@compiled
def exponential(x: np.float32) -> np.float32:
    """Compute ``exp(x)`` for x up to 88, with a relative error of 1e-6; NaN stays NaN.

    The compiler makes one instruction for eight or more numbers of it, which it does not of a call of the C library.

    Args:
        x: At most 88.

    Returns:
        The exponential; zero below -87.
    """
    y = LOWEST if x < LOWEST else x
    n = np.floor(y * LOG2_E + HALF)
    f = y - n * LN_2
    series = (((((P7 * f + P6) * f + P5) * f + P4) * f + P3) * f + P2) * f * f + f + ONE
    power = np.int32((np.int32(n) + BIAS) << EXPONENT).view(np.float32)
    return ZERO if x < LOWEST else series * power


@compiled
def largest(row: Numbers, count: int) -> np.float32:
    """Find the largest of the first numbers of a row, as integers, which the compiler takes in any order.

    Args:
        row: S numbers, side by side in memory.
        count: How many of them.

    Returns:
        The largest; NaN where one is NaN with a plus sign.
    """
    bits, most = row.view(np.int32), LEAST
    for j in range(count):
        ordered = bits[j] ^ ((bits[j] >> SIGN) & REST)
        most = max(most, ordered)
    return np.int32(most ^ ((most >> SIGN) & REST)).view(np.float32)


@compiled
def softmax_row(row: Numbers, count: int) -> None:
    """Replace the first numbers of a row by their softmax.

    The backward pass computes it again, with the same digits: from a logarithm of the sum, which has those of the
    largest score, it would be less exact.

    Args:
        row: S numbers, side by side in memory.
        count: How many of them; the others keep their values.
    """
    most, total = largest(row, count), ZERO
    for j in range(count):
        one = exponential(row[j] - most)
        row[j] = one
        total += one
    inverse = ONE / total
    for j in range(count):
        row[j] *= inverse
