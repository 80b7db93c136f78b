"""Memory of a compiled loop: one piece for all of its arrays, whose views count no references."""

from __future__ import annotations

import numpy as np

from attnlab.attention.ops.loops import Numbers, borrowing, compiled

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
