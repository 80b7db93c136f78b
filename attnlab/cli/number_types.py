"""Numbers of the command line: ASCII digits, of at most 64 bits, and no inf or nan.

Python's ``int`` accepts ``1_000`` and digits of every script, of any length; ``float`` also ``inf`` and ``nan``. A
slip is better refused.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable
from typing import Any

import typer

from attnlab.errors import clipped
from attnlab.sizes import MAX_INTEGER

INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")
DIGITS = re.compile(r"[-+]?[0-9]+")


def strict_numbers(command: Any, function: Callable[..., Any]) -> Any:
    """Let every option of a command that takes a number accept only what this module accepts.

    Args:
        command: The command; it is changed.
        function: Its function, whose annotations tell which options take numbers.

    Returns:
        The same command.
    """
    hints = typing.get_type_hints(function)
    for param in command.params:
        kinds = {kind for kind in (hints[param.name], *typing.get_args(hints[param.name])) if kind in (int, float)}
        if kinds:
            param.process_value = _strict(param, whole=kinds == {int})
    return command


def refusal(text: str, *, whole: bool) -> str:
    """Tell what is wrong with a number as it was typed.

    >>> refusal("12", whole=True), refusal("1_0", whole=True), refusal("inf", whole=False)
    ('', "'1_0' is not a whole number.", "'inf' is not a number.")

    Args:
        text: The word.
        whole: Whether it must be a whole number.

    Returns:
        A sentence; empty where nothing is wrong.
    """
    word = text.strip()
    shown = f"'{clipped(text)}'"
    if not whole:
        if not FLOAT.fullmatch(word):
            return f"{shown} is not a number."
        return f"{shown} is too large." if math.isinf(float(word)) else ""
    if INTEGER.fullmatch(word):
        return "" if abs(int(word)) <= MAX_INTEGER else f"{shown} has more than 64 bits."
    return f"{shown} has more than 64 bits." if DIGITS.fullmatch(word) else f"{shown} is not a whole number."


def _strict(param: Any, *, whole: bool) -> Any:
    """The conversion of an option, of words in the accepted form only."""
    process = param.process_value

    def strict(ctx: Any, value: Any) -> Any:
        if isinstance(value, str) and (problem := refusal(value, whole=whole)):
            raise typer.BadParameter(problem, ctx=ctx, param=param)
        return process(ctx, value)

    return strict
