"""The JSON files of a store, which may come from elsewhere: their size and depth are bounded, and their text is UTF-8.

pydantic's reader refuses nesting beyond 200, integers of thousands of digits and halves of surrogate pairs, each of
which the standard library passes on to whoever computes with or prints the value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import from_json

MAX_BYTES = 2**27
"""Bytes of a file that is read as a whole."""


def read_json(path: Path) -> Any:
    """Read a file of JSON.

    Args:
        path: The file.

    Returns:
        Plain data.

    Raises:
        ValueError: It is no JSON in UTF-8, nested too deeply, or larger than :data:`MAX_BYTES`.
        OSError: It cannot be read.
    """
    return from_json(read_bounded(path))


def read_bounded(path: Path) -> bytes:
    """Read a file that must not be large.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ValueError: It is larger than :data:`MAX_BYTES`, or no file but a device or a pipe.
        OSError: It cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes; up to {MAX_BYTES:,} are read")
    return path.read_bytes()
