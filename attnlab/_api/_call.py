"""A call of the Python interface as text, which a store keeps as it keeps a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def call_text(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """Write a call that does the same again, with what differs from the defaults.

    >>> def sweep(task="recall", attention=(), *, seeds=3, store=None): ...
    >>> call_text(sweep, {"task": "copy", "attention": ["softmax"], "seeds": 3, "store": Path("out")})
    "import attnlab; attnlab.sweep('copy', ['softmax'], store='out')"

    Args:
        function: A function that attnlab exports.
        arguments: What it was called with, by name; classes as the words that name them.

    Returns:
        Python on one line.
    """
    words = []
    behind = False  # arguments behind one that is left out are named
    for name, parameter in inspect.signature(function).parameters.items():
        value = _plain(arguments[name])
        if value == _plain(parameter.default):
            behind = True
        else:
            named = behind or parameter.kind is parameter.KEYWORD_ONLY
            words.append(f"{name}={value!r}" if named else repr(value))
    return f"import attnlab; attnlab.{function.__name__}({', '.join(words)})"


def _plain(value: Any) -> Any:
    """A value of builtin types, whose text is Python."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value
