"""Matrices with their axes exchanged, for compiled loops: 4 x 4 numbers at a time, by vectors of four.

One number at a time needs a load and a store for each: a sixth of the backward pass of `expressive` at 64 tokens was
spent on keys and values (AMD EPYC with AVX2, `perf`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.attention.ops.loops import Numbers, called, works

SIDE = 4
"""Rows and columns of what is exchanged at a time: vectors of four float32 are in all processors."""


def exchanges() -> Any:
    """Get a function that writes 4 x 4 numbers with their axes exchanged, to be called by compiled functions.

    Returns:
        The function; None where no loop can be compiled. Its arguments are the address of the first number, the bytes
        from a row to the next, and the same of the result; numbers of a row lie side by side in both.
    """
    if not works():
        return None
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    vector, place = ir.VectorType(ir.FloatType(), SIDE), ir.IntType(32)
    low, high = [0, SIDE, 1, SIDE + 1], [2, SIDE + 2, 3, SIDE + 3]

    def at(builder: Any, address: Any, row: int, step: Any) -> Any:
        return builder.inttoptr(builder.add(address, builder.mul(step.type(row), step)), vector.as_pointer())

    @intrinsic
    def exchange(context: Any, source: Any, source_row: Any, out: Any, out_row: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, source_row, out, out_row = arguments
            rows = [builder.load(at(builder, source, row, source_row), align=4) for row in range(SIDE)]
            for _ in range(
                2
            ):  # rows 0 and 2, and 1 and 3, number by number in turns: twice, and the axes are exchanged
                rows = [
                    builder.shuffle_vector(rows[one], rows[one + 2], ir.Constant(ir.VectorType(place, SIDE), half))
                    for one in range(2)
                    for half in (low, high)
                ]
            for row, numbers in enumerate(rows):
                builder.store(numbers, at(builder, out, row, out_row), align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return exchange


_exchange = exchanges()


@called("void(float32[:, :], float32[:, :])")
def transpose(matrix: Numbers, out: Numbers) -> None:
    """Write a matrix with its axes exchanged.

    Args:
        matrix: R x S, whose rows lie side by side.
        out: S x R, whose rows lie side by side.
    """
    rows, columns = matrix.shape
    source, source_row = np.intp(matrix.ctypes.data), matrix.strides[0]
    target, target_row = np.intp(out.ctypes.data), out.strides[0]
    whole_rows, whole_columns = rows // SIDE * SIDE, columns // SIDE * SIDE
    for row in range(0, whole_rows, SIDE):
        for column in range(0, whole_columns, SIDE):
            _exchange(
                source + row * source_row + 4 * column, source_row, target + column * target_row + 4 * row, target_row
            )
    for row in range(whole_rows, rows):
        for column in range(columns):
            out[column, row] = matrix[row, column]
    for column in range(whole_columns, columns):
        for row in range(whole_rows):
            out[column, row] = matrix[row, column]
