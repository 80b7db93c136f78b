"""Text -> what it says: a syntax tree without comments, docstrings and formatting, and digests of that.

The tree is written in a form of its own, because that of :func:`ast.dump` differs between versions of Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

DIGITS = 16
"""Hexadecimal digits of a digest."""
IRRELEVANT = ("ctx", "kind", "type_comment")
"""Fields of a syntax tree that the compiled code does not depend on."""


def digest(texts: Iterable[tuple[str, str]]) -> str:
    """Digest named texts; their order does not count.

    Args:
        texts: Name and text of each.

    Returns:
        Hexadecimal digits.
    """
    return hashlib.sha256(repr(sorted(texts)).encode()).hexdigest()[:DIGITS]


def parsed(text: bytes) -> ast.Module:
    """Parse a Python file.

    Args:
        text: The file.

    Returns:
        Its syntax tree; an empty one where it cannot be parsed.
    """
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


@lru_cache(maxsize=2048)
def normalized(text: bytes) -> str:
    """Write what a Python file says.

    Args:
        text: The file.

    Returns:
        Its syntax tree; its bytes where it cannot be parsed.
    """
    try:
        return tree_text(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return repr(text)


def tree_text(node: Any) -> str:
    """Write a syntax tree without its empty fields, which differ between versions of Python.

    Args:
        node: A node, a list of nodes, or the value of a field.

    Returns:
        The text; docstrings are left out.
    """
    if isinstance(node, list):
        return f"[{' '.join(map(tree_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if name not in IRRELEVANT}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    inside = " ".join(f"{name}={tree_text(value)}" for name, value in fields.items() if not _is_empty(value))
    return f"({type(node).__name__} {inside})"


def _is_empty(value: Any) -> bool:
    """Whether the field of a node has nothing in it; 0 and False are values."""
    return value is None or (isinstance(value, list) and not value)
