"""Constants and compiled code -> text, to be digested or compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType
from typing import Any


def constant_text(value: Any) -> str:
    """Write out plain data, and the bytes of arrays.

    Args:
        value: Any object.

    Returns:
        The text; of other objects than data their type.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{list(map(constant_text, value))}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}{sorted(map(constant_text, value))}"
    if isinstance(value, dict):
        return f"dict{[(constant_text(key), constant_text(item)) for key, item in value.items()]}"
    array = value.detach().cpu().numpy() if hasattr(value, "detach") and hasattr(value, "cpu") else value
    to_bytes: Callable[[], bytes] | None = getattr(array, "tobytes", None)
    return f"{type(value).__qualname__} {hashlib.sha256(to_bytes()).hexdigest() if to_bytes else ''}"


def code_text(code: CodeType) -> str:
    """Write out compiled code without its line numbers.

    Args:
        code: The code.

    Returns:
        The text, which differs between versions of Python.
    """
    constants = [code_text(one) if isinstance(one, CodeType) else constant_text(one) for one in code.co_consts]
    return repr((code.co_name, code.co_code, code.co_names, code.co_varnames, constants))
