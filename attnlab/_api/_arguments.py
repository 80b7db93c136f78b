"""Numbers that are arguments of the functions for Python: whole ones, and those of numpy."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from attnlab.errors import InvalidValueError


def count(value: Any, name: str, *, least: int = 1) -> int:
    """Read a whole number.

    >>> import numpy
    >>> count(numpy.int64(3), "seeds")
    3

    Args:
        value: What was passed.
        name: Of the argument.
        least: The smallest number that is accepted.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is smaller, or no whole number.
    """
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
    if number is None or number < least:
        raise InvalidValueError(f"It cannot be {value!r}.", f"It is a whole number, at least {least}.", where=name)
    return number


def seed_range(seed: Any, seeds: Any) -> range:
    """Read the seeds.

    Args:
        seed: The first one.
        seeds: Their number.

    Returns:
        The seeds.

    Raises:
        InvalidValueError: Either is too small, or no whole number.
    """
    first = count(seed, "seed", least=0)
    return range(first, first + count(seeds, "seeds"))


def plain(value: Any) -> Any:
    """Turn numbers and arrays of numpy into Python's own, in mappings and sequences too.

    >>> import numpy
    >>> plain({"lr": numpy.float64(0.5), "levels": numpy.arange(2), "name": "copy"})
    {'lr': 0.5, 'levels': [0, 1], 'name': 'copy'}

    Args:
        value: Any value.

    Returns:
        The value without numpy.
    """
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value
