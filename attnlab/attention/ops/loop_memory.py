"""Memory of a compiled loop: one piece for all of its arrays, whose views count no references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.attention.ops.loops import Numbers, compiled, works


def borrowing() -> Any:
    """Get a function that views an array without counting its references, to be called by compiled functions.

    A view of an array counts one more reference, by an atomic operation that takes as long as dozens of numbers. What
    the function returns counts none, and neither do views of it. The array must live until its views are used no more:
    a loop that makes one calls :func:`hold` with it at its end.

    Returns:
        The function; None where no loop can be compiled.
    """
    if not works():
        return None
    from numba.core import cgutils
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    @intrinsic
    def borrow(context: Any, array: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            view = make_array(signature.return_type)(context, builder, args[0])
            view.meminfo = cgutils.get_null_value(view.meminfo.type)
            view.parent = cgutils.get_null_value(view.parent.type)
            return view._getvalue()

        return array(array), generate

    return borrow


def rows_of_a_matrix() -> Any:
    """Get a function that views a row of a matrix as numbers side by side, to be called by compiled functions.

    The compiler does not know of the rows of an array of several axes that they lie side by side, and makes no vectors
    of their numbers. The view counts no references, as that of :func:`borrowing`.

    Returns:
        The function, of a matrix whose rows lie side by side and of the index of a row; None where no loop can be
        compiled.
    """
    if not works():
        return None
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array, populate_array

    @intrinsic
    def row_of(context: Any, matrix: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
        row_type = types.Array(matrix.dtype, 1, "C")

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            from_matrix = make_array(matrix)(context, builder, args[0])
            (_, columns), (step, _) = (
                cgutils.unpack_tuple(builder, numbers) for numbers in (from_matrix.shape, from_matrix.strides)
            )
            view = make_array(row_type)(context, builder)
            data = cgutils.pointer_add(builder, from_matrix.data, builder.mul(step, args[1]), view.data.type)
            populate_array(
                view,
                data=data,
                shape=cgutils.pack_array(builder, [columns]),
                strides=cgutils.pack_array(builder, [from_matrix.itemsize]),
                itemsize=from_matrix.itemsize,
                meminfo=None,
            )
            return view._getvalue()

        return row_type(matrix, types.intp), generate

    return row_of


row_of = rows_of_a_matrix()
"""View a row of a matrix as numbers side by side."""
borrow = borrowing()
"""View an array without counting its references; the loop calls :func:`hold` with it once no view is used any more."""


@compiled
def cut(memory: Numbers, shape: tuple[int, ...]) -> tuple[Numbers, Numbers]:
    """Take an array off the beginning of memory.

    Args:
        memory: Numbers side by side.
        shape: That of the array.

    Returns:
        The array, and the rest of the memory.
    """
    size = 1
    for one in shape:
        size *= one
    return memory[:size].reshape(shape), memory[size:]


@compiled
def hold(owner: Numbers) -> None:
    """Let memory live up to this call, since its last use frees it.

    Args:
        owner: The memory.
    """
    owner[0] = np.float32(0)
