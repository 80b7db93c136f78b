"""Negative numbers that an array of unsigned integers has turned into large ones: -100 is 65,436 in uint16.

Such a number is meant to say that nothing is asked, and would be trained as an answer. It is told from a token by two
signs: it is never an input, and it is the only token so high. For -100 and -1, the numbers in use, the first is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InvalidFileError

SMALL = 100
"""Negative numbers down to minus this one are looked for."""
SMALL_IN_BYTES = 16
"""The same in arrays of one byte, of which a token may be nearly as high."""
IN_USE = (-100, -1)
"""What is written for a position at which nothing is asked."""
BYTES = (1, 2, 4, 8)
SIGNED = "Write the targets as signed integers, such as int32, with -100 where nothing is asked."


def negative_of(value: int, most: int) -> int | None:
    """Tell which negative number a large one was, before it was written as an unsigned integer.

    >>> negative_of(65_436, 2**16), negative_of(2**32 - 2, 2**32), negative_of(255, 2**16), negative_of(7, 2**8)
    (-100, -2, None, None)

    Args:
        value: The number.
        most: One more than the largest number of the type, such as 65,536 for uint16.

    Returns:
        A number from -100 to -1; None if it was none of these.
    """
    return value - most if most - SMALL <= value < most else None


def wrapped_hint(value: int) -> str | None:
    """Describe a number beyond every vocabulary that was a negative one.

    Args:
        value: The number.

    Returns:
        A sentence; None if it was no small negative number.
    """
    negatives = [negative for size in BYTES if (negative := negative_of(value, 2 ** (8 * size))) is not None]
    return f"It is {negatives[0]} in an array of unsigned integers." if negatives else None


def refuse_wrapped(
    dtype: np.dtype[Any], counts: NDArray[np.integer[Any]], inputs_seen: NDArray[np.bool_], where: str
) -> None:
    """Refuse a target that is a negative number in disguise.

    Args:
        dtype: Type of the array of targets.
        counts: How often each token is a target.
        inputs_seen: Whether each token is an input.
        where: The file, for the error.

    Raises:
        InvalidFileError: A target was a negative number.
    """
    for most, small in _types(np.dtype(dtype.newbyteorder("="))):
        high = np.arange(most - SMALL, most)
        answers = high[(counts[high] > 0) & ~inputs_seen[high]].tolist()
        used = (counts > 0) | inputs_seen
        known = [value for value in answers if value - most in IN_USE]
        alone = [value for value in answers if value >= most - small and used[most - small :].sum() == 1]
        for value in [*known, *alone]:
            problem = f"The target {value:,} is never an input: it is {value - most} in an array of unsigned integers."
            raise InvalidFileError(problem, SIGNED, where=where)


def _types(dtype: np.dtype[Any]) -> Iterator[tuple[int, int]]:
    """The unsigned types whose negative numbers are looked for: their size, and how far down.

    Numbers of two bytes are looked for in every array, since they are often copied to a wider one.
    """
    if dtype == np.uint8:
        yield 2**8, SMALL_IN_BYTES
    yield 2**16, SMALL
