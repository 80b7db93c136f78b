"""The sidecar of a file of sequences: ``data.npz.json`` describes what ``data.npz`` cannot hold.

A file needs no sidecar. A sidecar that does not match its file is refused. Sidecars of format 1 are still read.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic_core import from_json

from attnlab.choices import SplitName
from attnlab.config.validate import validated
from attnlab.errors import InvalidFileError
from attnlab.specs import Count, Share, Value

MAX_BYTES = 2**27
"""Bytes of a sidecar: it has every token as text."""
PADDING = 0
"""The token after the end of a row that is shorter than the others; it is not supervised."""

RENAMED = {"symbols": "token_strings", "ceiling": "best_accuracy", "several": "multiple_targets", "stream": "split"}
"""Fields of format 1 and their names in format 2."""

TokenStrings = Annotated[tuple[str, ...], Strict(False)]


class Sidecar(Value):
    """Where the sequences of a file come from, and how they are read."""

    format: Literal[2] = 2
    task: str
    options: dict[str, Any]
    train: dict[str, Any] = {}
    """Options that differ in the training split."""
    version: int | None
    """Version of the task."""
    vocabulary: Count
    token_strings: TokenStrings
    """Each token as text."""
    length: Count
    """Tokens of the longest row; shorter ones are padded where a format needs rows of one length."""
    chance: Annotated[float, Field(gt=0, le=1)]
    """Chance accuracy."""
    best_accuracy: Share | None
    """Best achievable accuracy; null where it is unknown."""
    multiple_targets: bool = False
    """Whether some positions accept other targets than the one in the file."""
    ignore: Literal[-100] = -100
    """The target at positions that are not supervised; null means the same."""
    padding: Literal[0] = 0
    seed: Annotated[int, Field(ge=0)]
    split: SplitName
    sequences: Count
    attnlab: str
    """The version of attnlab that wrote it."""
    sha256: str
    """Of the file that it describes."""

    def to_bytes(self) -> bytes:
        """Encode the sidecar as JSON; equal sidecars give equal bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar of a file.

    Args:
        path: The file of sequences.

    Returns:
        The path of its sidecar.
    """
    return path.with_name(f"{path.name}.json")


def read_sidecar(path: Path) -> Sidecar | None:
    """Read the sidecar of a file.

    Args:
        path: The file of sequences.

    Returns:
        The sidecar; None if there is none.

    Raises:
        InvalidFileError: It is not a sidecar, or the file has changed since it was written.
        UnknownNameError: It has a key that sidecars do not have.
        InvalidValueError: The value of a key is not accepted.
    """
    source = sidecar_path(path)
    if not source.is_file():
        return None
    hint = f"Write the file again with attnlab generate, or move {source.name} away to read the file without it."
    try:
        if (size := source.stat().st_size) > MAX_BYTES:
            raise InvalidFileError(f"It has {size:,} bytes; up to {MAX_BYTES:,} are read.", hint, where=str(source))
        data = from_json(source.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidFileError(f"This is not JSON: {error}.", hint, where=str(source)) from None
    if not isinstance(data, dict):
        raise InvalidFileError(f"The JSON value is a {type(data).__name__}, not an object.", hint, where=str(source))
    if data.get("format") == 1:
        data = {RENAMED.get(key, key): value for key, value in data.items()} | {"format": 2}
    sidecar = validated(Sidecar, data, lambda location: f"{source}: {'.'.join(map(str, location))}")
    if sidecar.sha256 != (digest := fingerprint(path)):
        problem = f"It describes a file with SHA-256 {sidecar.sha256[:12]}...; {path.name} has {digest[:12]}..."
        raise InvalidFileError(problem, hint, where=str(source))
    return sidecar


Stamp = tuple[int, int, int, int]


def stamp(path: Path) -> Stamp:
    """Return what changes when a file does.

    Args:
        path: The file.

    Returns:
        Device, inode, size in bytes and modification time in nanoseconds.

    Raises:
        InvalidFileError: The file does not exist.
    """
    if not path.is_file():
        problem = "This is a folder, not a file." if path.is_dir() else "There is no such file."
        hint = f"A relative path starts at the working directory, {Path.cwd()}."
        raise InvalidFileError(problem, hint, where=str(path))
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def fingerprint(path: Path) -> str:
    """Compute the SHA-256 of a file; it is computed again only if the file changes.

    Args:
        path: The file.

    Returns:
        Hexadecimal digits.

    Raises:
        InvalidFileError: The file does not exist.
    """
    return _fingerprint(path, stamp(path))


@lru_cache(maxsize=64)
def _fingerprint(path: Path, stamped: Stamp) -> str:
    """Compute the SHA-256; the stamp is part of the key of the cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(digest: str, recorded: str, where: str) -> str:
    """Check that a content is the recorded one.

    Args:
        digest: SHA-256 of the content.
        recorded: The recorded SHA-256; empty if none was recorded.
        where: The location, for the error.

    Returns:
        The digest of the content.

    Raises:
        InvalidFileError: The content has changed.
    """
    if recorded not in ("", digest):
        problem = f"The content has changed: its SHA-256 is {digest[:12]}..., recorded is {recorded[:12]}..."
        hint = "Restore the content that the run used, or plan the run again without a digest."
        raise InvalidFileError(problem, hint, where=where)
    return digest
