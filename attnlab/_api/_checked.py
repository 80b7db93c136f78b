"""The calls of the functions for Python: each argument is read first, and errors name arguments in place of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from attnlab._api._python_words import python_text, python_where
from attnlab._api._values import Reader
from attnlab.errors import AttnlabError

P = ParamSpec("P")
T = TypeVar("T")


def checked(**readers: Reader) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a decorator that reads the arguments of a function before it is called.

    >>> from attnlab._api._values import count
    >>> @checked(seeds=count)
    ... def double(seeds: int) -> int: return 2 * seeds
    >>> double(3)
    6

    Args:
        **readers: The reader of each argument, by its name; defaults are not read.

    Returns:
        The decorator. An error that leaves the function names its arguments where it named options of the command line.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        assert list(signature.parameters) == list(readers), function

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own error names the function
            try:
                for name, value in bound.arguments.items():
                    bound.arguments[name] = readers[name](value, name)
                return function(*bound.args, **bound.kwargs)
            except AttnlabError as error:
                _name_arguments(error, readers)
                raise

        return call

    return decorate


def _name_arguments(error: AttnlabError, names: dict[str, Reader]) -> None:
    """Name arguments in place of options, in the error itself: it keeps its class and its traceback."""
    error.where = python_where(error.where, names)
    error.problem, error.hint = (python_text(text, names) for text in (error.problem, error.hint))
    error.args = (error.problem, error.hint, error.where)
