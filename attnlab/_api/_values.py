"""Readers of the values of arguments of the functions for Python: numbers, words, mappings and paths.

A reader takes what was passed and the name of the argument, and returns what the function works with; what it cannot
read is refused. Numbers of numpy are numbers.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from attnlab.errors import InvalidValueError, echo
from attnlab.sizes import MAX_INTEGER

Reader = Callable[[Any, str], Any]


def refusal(value: Any, accepted: str, name: str) -> InvalidValueError:
    """Make the error for what an argument cannot be.

    >>> print(refusal([3], "It is text.", "task"))
    task
      It cannot be [3].
      It is text.

    Args:
        value: What was passed.
        accepted: What it can be, as a sentence.
        name: Of the argument.

    Returns:
        The error, to be raised.
    """
    return InvalidValueError(f"It cannot be {echo(value)}.", accepted, where=name)


def anything(value: Any, name: str) -> Any:
    """Read what is checked where it is used.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The value.
    """
    return value


def count(value: Any, name: str, *, least: int = 1, instead: str = "") -> int:
    """Read a whole number.

    >>> import numpy
    >>> count(numpy.int64(3), "seeds")
    3

    Args:
        value: What was passed.
        name: Of the argument.
        least: The smallest number that is accepted.
        instead: What is accepted in place of a number, for the message.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is smaller, no whole number, or larger than ``MAX_INTEGER``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise refusal(value, f"It is a whole number, at least {least}{instead}.", name)
    if number > MAX_INTEGER:
        raise refusal(value, f"It is at most {MAX_INTEGER:,}.", name)
    return number


def natural(value: Any, name: str) -> int:
    """Read a whole number that may be 0.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is smaller, or no whole number.
    """
    return count(value, name, least=0)


def number(value: Any, name: str) -> float:
    """Read a finite number.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is no number, or not finite.
    """
    one = plain(value)
    if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
        raise refusal(value, "It is a number.", name)
    return one


def flag(value: Any, name: str) -> bool:
    """Read a truth value.

    >>> flag(1, "resume")
    True

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        True or False; of 1 and 0 as well.

    Raises:
        InvalidValueError: It is another value.
    """
    one = plain(value)
    if not isinstance(one, int) or one not in (0, 1):
        raise refusal(value, "It is True or False.", name)
    return bool(one)


def optional(read: Reader) -> Reader:
    """Make a reader that leaves None as it is.

    Args:
        read: Reads any other value.

    Returns:
        The reader.
    """
    return lambda value, name: None if value is None else read(value, name)


def word(accepted: str) -> Reader:
    """Make a reader of text.

    Args:
        accepted: What the text can be, as a sentence.

    Returns:
        The reader.
    """

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise refusal(value, accepted, name)
        return str(value)

    return read


def choice(words: Any) -> Reader:
    """Make a reader of one of several words.

    Args:
        words: A Literal of them.

    Returns:
        The reader.
    """
    accepted = get_args(words)
    listed = ", ".join(map(repr, accepted))

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in accepted:
            raise refusal(value, f"It is one of: {listed}." if len(accepted) > 1 else f"It is {listed}.", name)
        return str(value)

    return read


def words(accepted: str, *, separator: str = "") -> Reader:
    """Make a reader of one word or several; None is none.

    >>> words("They are fields.", separator=",")("width,seed", "index")
    ['width', 'seed']

    Args:
        accepted: What they can be, as a sentence.
        separator: What stands between several in one text; empty leaves it whole.

    Returns:
        The reader: of text without a separator it returns the text, of anything else a list.
    """

    def read(value: Any, name: str) -> str | list[str]:
        if isinstance(value, str):
            return [one for one in value.split(separator) if one] if separator else str(value)
        found = [] if value is None else listed(value, accepted, name)
        if not all(isinstance(one, str) for one in found):
            raise refusal(value, accepted, name)
        return list(map(str, found))

    return read


def mapping(example: str) -> Reader:
    """Make a reader of a mapping with text as keys.

    Args:
        example: A mapping that would be accepted, as Python.

    Returns:
        The reader.
    """

    def read(value: Any, name: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise refusal(value, f"It is a mapping with names as keys, such as {example}.", name)
        return value

    return read


def path(example: str) -> Reader:
    """Make a reader of a path.

    An empty one, as of a variable that is not set, would be the current folder: it is refused.

    Args:
        example: What to name, such as ``a folder, such as 'results'``.

    Returns:
        The reader.
    """

    def read(value: Any, name: str) -> Path:
        found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if found == "":
            raise InvalidValueError("It is empty.", f"Name {example}.", where=name)
        if not isinstance(found, str) or "\0" in found:
            raise refusal(value, f"Name {example}, as text or as a pathlib.Path.", name)
        return Path(found)

    return read


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


def listed(value: Any, accepted: str, name: str) -> list[Any]:
    """The items of what has an order; all else is refused."""
    if isinstance(value, set | frozenset):
        raise InvalidValueError("It is a set, which has no order.", "Give a list.", where=name)
    if isinstance(value, str | bytes | bytearray | Mapping) or callable(value) or not isinstance(value, Iterable):
        raise refusal(value, accepted, name)
    try:
        return list(value)
    except TypeError:
        raise refusal(value, accepted, name) from None
