"""The data files beside a Python file, or below its folder, that its constants name: tables, text, weights.

``HERE / "tables" / "powers.npz"`` names a folder and a file in it. A name that is put together while the code runs
(an f-string, a pattern) is not found, nor is a file elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from attnlab.part_code._names import file_names
from attnlab.part_code._trees import DIGITS

STORE = "store.json"
"""A folder with this file holds results; these follow from the code."""
LARGE = 2**20
"""Bytes from which a file is not read again while its size and time of change are the same."""


def data_files(text: bytes, folder: Path) -> Iterator[Path]:
    """List the data files that the constants of a Python file name.

    Args:
        text: The Python file.
        folder: Its folder.

    Yields:
        The files, each below the folder.
    """
    names = file_names(text)
    folders, known = [folder], {folder}
    while folders:
        here = folders.pop()
        for name in names:
            path = Path(os.path.normpath(here / name))
            if path in known or not path.is_relative_to(folder) or not path.exists():
                continue
            known.add(path)
            if path.is_file() and not any((one / STORE).is_file() for one in path.parents if one != folder.parent):
                yield path
            elif path.is_dir():
                folders.append(path)


def content_digest(path: Path) -> str:
    """Digest the content of a data file.

    Args:
        path: The file.

    Returns:
        Hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    stat = path.stat()
    if stat.st_size < LARGE:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
    return _content_digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=512)
def _content_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
