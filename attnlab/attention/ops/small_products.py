"""Products of small matrices for compiled loops: a micro-tile of the result stays in the registers of a core.

A BLAS is made for large matrices: it copies both factors, so that they lie side by side, and chooses among kernels. Of
the matrices of 16 to 32 rows, of which a loop makes thousands while its data lie in the cache, these loops make
products at 1.8 to 2.9 times the rate of OpenBLAS (AMD EPYC with AVX2; `python -m benchmarks.products`).

A micro-tile is summed over the inner axis with one vector for each of its rows: each number of the left factor meets a
vector of numbers of the right one, which must lie side by side. Vectors are of the compiler's intermediate language,
which splits them into those of the processor.

Source   Van Zee and van de Geijn, "BLIS: a framework for rapidly instantiating BLAS functionality", ACM TOMS 2015: its
         micro-kernel, here without copies of the factors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from attnlab.attention.ops.loops import called, works

Address = int | np.signedinteger[Any]
WIDTHS = (16, 8, 4, 1)
"""Columns of micro-tiles, the first where there are as many."""
DEPTH = 256
"""Most of the inner axis at a time: what micro-tiles of the same columns read again stays in the cache, 16 KiB."""


@cache
def heights() -> tuple[int, ...]:
    """Choose the rows of micro-tiles: so many that additions do not wait, and so few that registers hold all sums.

    Returns:
        8, 4, 2 and 1 with the 32 wide registers of AVX-512, otherwise 6, 4, 2 and 1.
    """
    from llvmlite import binding

    try:
        wide = binding.get_host_cpu_features().get("avx512f", False)
    except RuntimeError:  # of a processor of which LLVM tells nothing
        wide = False
    return (8, 4, 2, 1) if wide else (6, 4, 2, 1)


def _emit(builder: Any, height: int, width: int, arguments: Any) -> None:
    """Write the instructions of a micro-tile: its sums over the inner axis, and the result from them."""
    from llvmlite import ir
    from numba.core import cgutils

    left, left_row, left_step, right, right_step, out, out_row, inner, factor, kept = arguments
    number, integer, place = ir.FloatType(), left.type, ir.IntType(32)
    vector = ir.VectorType(number, width)
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{width}f32"
    )

    def at(address: Any, row: int, step: Any, kind: Any) -> Any:
        return builder.inttoptr(builder.add(address, builder.mul(integer(row), step)), kind.as_pointer())

    def everywhere(one: Any) -> Any:
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), one, place(0))
        return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(place, width), [0] * width))

    before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(body)
    builder.position_at_end(body)
    counter, lefts, rights, *sums = (builder.phi(kind) for kind in [integer] * 3 + [vector] * height)
    rights_here = builder.load(builder.inttoptr(rights, vector.as_pointer()), align=4)
    numbers = [everywhere(builder.load(at(lefts, row, left_row, number), align=4)) for row in range(height)]
    added = [builder.call(multiply_add, [one, rights_here, sum]) for one, sum in zip(numbers, sums, strict=True)]
    following = builder.add(counter, integer(1))
    starts = [integer(0), left, right, *[ir.Constant(vector, [0.0] * width)] * height]
    nexts = [following, builder.add(lefts, left_step), builder.add(rights, right_step), *added]
    for phi, start, following_value in zip([counter, lefts, rights, *sums], starts, nexts, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(following_value, body)
    builder.cbranch(builder.icmp_signed("<", following, inner), body, after)

    builder.position_at_end(after)
    factors, shares = everywhere(factor), everywhere(kept)
    results = [builder.fmul(factors, sum) for sum in added]
    places = [at(out, row, out_row, vector) for row in range(height)]
    with builder.if_else(builder.fcmp_ordered("==", kept, number(0.0))) as (forgets, keeps):
        with forgets:  # what is there is not read: it may be anything
            for result, address in zip(results, places, strict=True):
                builder.store(result, address, align=4)
        with keeps:
            for result, address in zip(results, places, strict=True):
                builder.store(
                    builder.call(multiply_add, [shares, builder.load(address, align=4), result]), address, align=4
                )


def micro_tiles() -> Any:
    """Get a function that writes a micro-tile of a product, to be called by compiled functions.

    Returns:
        The function; None where no loop can be compiled. Its arguments are the index of the height in ``heights()``
        and that of the width in ``WIDTHS``; the address of the first number of the left factor, and the bytes from one
        row and from one column to the next; the address of the right one, and the bytes from row to row; the same of
        the result; the length of the inner axis, at least 1; the factor of the product, and that of what is there.
    """
    if not works():
        return None
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def micro_tile(
        context: Any,
        height: Any,
        width: Any,
        left: Any,
        left_row: Any,
        left_step: Any,
        right: Any,
        right_step: Any,
        out: Any,
        out_row: Any,
        inner: Any,
        factor: Any,
        kept: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            height, width, *rest = arguments
            index, end = height.type, builder.append_basic_block()
            which = builder.add(builder.mul(height, index(len(WIDTHS))), width)
            sizes = [(one, other) for one in heights() for other in WIDTHS]
            blocks = [builder.append_basic_block() for _ in sizes]
            switch = builder.switch(which, blocks[-1])
            for case, (block, size) in enumerate(zip(blocks, sizes, strict=True)):
                if block is not blocks[-1]:
                    switch.add_case(index(case), block)
                builder.position_at_end(block)
                _emit(builder, *size, rest)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 10, types.float32, types.float32), generate

    return micro_tile


_micro_tile = micro_tiles()
_HEIGHTS = heights() if works() else ()
_HALVED = 8 if 6 in _HEIGHTS else 0
"""Rows that are left and make two tiles of four: six and two would take longer."""


@called(f"void({'intp, ' * 10}float32, float32)")
def fill(
    left: Address,
    left_row: int,
    left_step: int,
    right: Address,
    right_step: int,
    out: Address,
    out_row: int,
    rows: int,
    columns: int,
    inner: int,
    factor: np.float32,
    kept: np.float32,
) -> None:
    """Write ``factor left @ right + kept out``, one micro-tile after the other.

    Args:
        left: The address of the left factor, R x S.
        left_row: Bytes from a row of it to the next.
        left_step: Bytes from a column to the next.
        right: The address of the right factor, S x C, whose rows lie side by side.
        right_step: Bytes from a row of it to the next.
        out: The address of the result, R x C, whose rows lie side by side.
        out_row: Bytes from a row of it to the next.
        rows: R.
        columns: C.
        inner: S, at least 1.
        factor: Of the product.
        kept: Of what the result holds; with 0 it is not read.
    """
    for first in range(0, inner, DEPTH):
        depth = min(DEPTH, inner - first)
        share = kept if first == 0 else np.float32(1)
        column = 0
        while column < columns:
            rest = columns - column
            width = 0 if rest >= WIDTHS[0] else 1 if rest >= WIDTHS[1] else 2 if rest >= WIDTHS[2] else 3
            row = 0
            while row < rows:
                height = 1 if rows - row == _HALVED else 0
                while _HEIGHTS[height] > rows - row:
                    height += 1
                _micro_tile(
                    height,
                    width,
                    left + row * left_row + first * left_step,
                    left_row,
                    left_step,
                    right + first * right_step + 4 * column,
                    right_step,
                    out + row * out_row + 4 * column,
                    out_row,
                    depth,
                    factor,
                    share,
                )
                row += _HEIGHTS[height]
            column += WIDTHS[width]
