"""What compiled loops call: products, exponentials, and the softmax of rows that lie in the cache of a core.

A block of rows holds the scores of all keys up to its last query, so that a softmax needs no second pass over keys.
Scores of later keys are set to zero, and what follows are whole products.

Letters  R rows of a block, S keys, C channels.
"""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loops import Numbers, called, compiled
from attnlab.attention.ops.small_products import WIDTHS, fill
from attnlab.attention.ops.small_transposes import transpose

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
VECTOR = 16
"""Numbers of the widest vector of a processor."""
COLUMNS = WIDTHS[0]
"""Columns that are copied at a time where they lie side by side."""


@compiled
def product_with_rows(left: Numbers, right: Numbers, factor: np.float32, kept: np.float32, out: Numbers) -> None:
    """Write ``factor left @ right + kept out``, where rows of the right factor lie side by side.

    Args:
        left: R x S; S is at least 1.
        right: S x C.
        factor: Of the product.
        kept: Of what ``out`` holds; with 0 it is not read.
        out: R x C, whose rows lie side by side.
    """
    fill(
        np.intp(left.ctypes.data),
        left.strides[0],
        left.strides[1],
        np.intp(right.ctypes.data),
        right.strides[0],
        np.intp(out.ctypes.data),
        out.strides[0],
        left.shape[0],
        right.shape[1],
        left.shape[1],
        factor,
        kept,
    )


@called("void(float32[:, :], float32[:, :], float32, float32, float32[:, :])")
def product_with_columns(left: Numbers, right: Numbers, factor: np.float32, kept: np.float32, out: Numbers) -> None:
    """Write the same where columns of the right factor lie side by side: some of them are copied at a time.

    Args:
        left: R x S.
        right: S x C.
        factor: Of the product.
        kept: Of what ``out`` holds.
        out: R x C.
    """
    inner, columns = right.shape
    copied = np.empty((inner, COLUMNS), np.float32)
    for column in range(0, columns, COLUMNS):
        last = min(column + COLUMNS, columns)
        rows = copied[:, : last - column]
        transpose(right[:, column:last].T, rows)
        product_with_rows(left, rows, factor, kept, out[:, column:last])


@compiled
def product(left: Numbers, right: Numbers, factor: np.float32, kept: np.float32, out: Numbers) -> None:
    """Write ``factor left @ right + kept out``; fastest where rows of the right factor lie side by side.

    Args:
        left: R x S; S is at least 1.
        right: S x C.
        factor: Of the product.
        kept: Of what ``out`` holds; with 0 it is not read.
        out: R x C, whose rows lie side by side.
    """
    if right.strides[1] == 4 or right.shape[1] == 1:
        product_with_rows(left, right, factor, kept, out)
    else:
        product_with_columns(left, right, factor, kept, out)


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


@compiled
def block(memory: Numbers, rows: int, columns: int) -> Numbers:
    """View memory as a block whose rows have whole vectors of numbers, so that no loop has a rest.

    Args:
        memory: R times the columns and ``VECTOR`` more, at least.
        rows: R.
        columns: Of the block.

    Returns:
        R x at least the columns.
    """
    width = (columns + VECTOR - 1) // VECTOR * VECTOR
    return memory[: rows * width].reshape(rows, width)


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
