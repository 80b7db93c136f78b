"""The numbers of one row as integers, where another tool may have turned them into floats.

pandas, datasets   [3, 1, null] becomes [3.0, 1.0, nan], because their integers have no null
duckdb             a fraction anywhere makes a column of floats
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from attnlab.errors import InvalidFileError
from attnlab.tasks.base import IGNORE

EXACT = 2**53
"""Floats below this size have every integer."""


def integers(name: str, numbers: list[Any], accepted: str, where: str, *, nulls: bool) -> list[int]:
    """Read each number as an integer.

    >>> integers("targets", [3.0, None, float("nan"), -100], "", "", nulls=True)
    [3, -100, -100, -100]

    Args:
        name: What the list is called, for the error.
        numbers: Whole numbers, as integers or floats, null or nan.
        accepted: The hint of the error.
        where: The location of the list, for the error.
        nulls: Whether null and nan are accepted.

    Returns:
        Integers; IGNORE for null and nan.

    Raises:
        InvalidFileError: One of them is no whole number; the error names the first.
    """
    if set(map(type, numbers)) == {int}:
        return numbers
    result: list[int] = []
    for position, number in enumerate(numbers):
        is_float = isinstance(number, float | np.floating)
        if type(number) is int:
            result.append(number)
        elif is_float and number.is_integer() and abs(number) < EXACT:
            result.append(int(number))
        elif nulls and (number is None or (is_float and np.isnan(number))):
            result.append(IGNORE)
        else:
            problem = f"{name}[{position}] is {json.dumps(number, default=str):.40}, not a token."
            raise InvalidFileError(problem, accepted, where=where)
    return result
