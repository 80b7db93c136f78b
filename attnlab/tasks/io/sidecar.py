"""What stands beside a file of sequences: ``data.npz.json`` tells all that ``data.npz`` cannot.

A file may do without one; a sidecar that does not belong to its file as it stands is refused.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from attnlab.config.validate import validated
from attnlab.errors import InvalidFileError
from attnlab.specs import Count, Share, Value

PADDING = 0
"""Token that stands behind the end of a row that is shorter than the others; nothing is asked there."""

Words = Annotated[tuple[str, ...], Strict(False)]


class Sidecar(Value):
    """Where the sequences of a file come from, and how they are read."""

    format: Literal[1] = 1
    task: str
    options: dict[str, Any]
    train: dict[str, Any] = {}
    """Options that differ in the training stream."""
    version: int | None
    """Version of the task."""
    vocabulary: Count
    symbols: Words
    """Each token, as a person reads it."""
    length: Count
    """Tokens of a row, at most; shorter ones are padded where a format knows one length only."""
    chance: Annotated[float, Field(gt=0, le=1)]
    ceiling: Share | None
    """Null where it is unknown."""
    several: bool = False
    """Whether other answers than the one in the file are right as well, somewhere."""
    ignore: Literal[-100] = -100
    """Target where nothing is asked, where a format has no null."""
    padding: Literal[0] = 0
    seed: Annotated[int, Field(ge=0)]
    stream: Literal["training", "validation", "test"]
    sequences: Count
    attnlab: str
    """Version of attnlab that wrote it."""
    sha256: str
    """Of the file beside it."""

    def to_bytes(self) -> bytes:
        """The sidecar as it is written: the same bytes for the same content."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def beside(path: Path) -> Path:
    """Where the sidecar of a file stands."""
    return path.with_name(f"{path.name}.json")


def read_sidecar(path: Path) -> Sidecar | None:
    """The sidecar of a file, if it has one.

    Raises:
        InvalidFileError: it is none of ours, or belongs to another content of the file.
    """
    place = beside(path)
    if not place.is_file():
        return None
    hint = f"Write the file anew with attnlab generate, or move {place.name} away to read the file without it."
    try:
        data = json.loads(place.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidFileError(f"It is no JSON: {error}.", hint, where=str(place)) from None
    if not isinstance(data, dict):
        raise InvalidFileError(f"It holds a {type(data).__name__}, not an object.", hint, where=str(place))
    result = validated(Sidecar, data, lambda steps: f"{place}: {'.'.join(map(str, steps))}")
    if result.sha256 != (digest := fingerprint(path)):
        words = f"It belongs to a file of SHA-256 {result.sha256[:12]}...; {path.name} has {digest[:12]}..."
        raise InvalidFileError(words, hint, where=str(place))
    return result


Stamp = tuple[int, int, int, int]


def stamp(path: Path) -> Stamp:
    """What changes when a file does: device, inode, size and time.

    Raises:
        InvalidFileError: there is no such file.
    """
    if not path.is_file():
        what = "This is a folder, not a file." if path.is_dir() else "There is no such file."
        hint = f"A relative path starts at the working directory, {Path.cwd()}."
        raise InvalidFileError(what, hint, where=str(path))
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; read once for as long as the file does not change.

    Raises:
        InvalidFileError: there is no such file.
    """
    return _fingerprint(path, stamp(path))


@lru_cache(maxsize=64)
def _fingerprint(path: Path, stamped: Stamp) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same(result: str, recorded: str, where: str) -> str:
    """The digest that was found, if it is the one that was recorded, or none was.

    Raises:
        InvalidFileError: the content has changed.
    """
    if recorded not in ("", result):
        words = f"The content has changed: its SHA-256 is {result[:12]}..., recorded is {recorded[:12]}..."
        raise InvalidFileError(
            words, "Bring back the content of the run, or plan it anew without a digest.", where=where
        )
    return result
