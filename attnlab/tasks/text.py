"""Text: tell the next byte of a file or folder of your own.

    inputs   T  o  ␣  b  e
    answers  o  ␣  b  e  ,

Tokens are bytes, and every position asks for the next one; a sequence is a window of the text at a place drawn
uniformly. The first 90 % of the bytes are for training, the next 5 % for validation, the last 5 % for the test. A
folder is read as one text: its files in the order of their names, one right after the other. What is hidden is left
out, and so are files with a zero byte near their beginning unless a pattern asks for them. The path ``stdlib`` stands
for the modules at the top of the standard library of the Python that runs: a text that is everywhere, and another one
in every version of Python.

The loss of a run is in nats per byte, so exp(loss) is the perplexity; divided by ln 2 it is bits per byte. Chance is
the share of the most frequent byte among those to train on. How well a byte can be told is not known.

Source   your text; the loss of a byte by its place in the context is the usual measure of language models.
"""

from __future__ import annotations

import copy
import hashlib
import math
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidFileError, InvalidValueError
from attnlab.tasks.base import Batch, Split, Task, register
from attnlab.tasks.io.sidecar import Stamp, same, stamp

STDLIB = "stdlib"
PARTS = {Split.TRAIN: (0, 90), Split.VALIDATION: (90, 95), Split.TEST: (95, 100)}
"""Which bytes a stream may see, in percent: from, to."""
WORDS = {ord(" "): "␣", ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}
"""Bytes that would not be seen."""
BLOCK = 2**22
"""Bytes that are counted at once."""

Bytes = NDArray[np.uint8]
Files = tuple[tuple[Path, Stamp], ...]


@register("text", source="your own text")
@final
class Text(Task):
    """Tell the next byte of a text of your own, or of Python's standard library.

    Options:
        length: Bytes of a window.
        path: A file or a folder, from the working directory; ``stdlib`` is Python's own sources.
        glob: Which files of a folder, as ``**/*.py``; null takes all text below it.
        digest: SHA-256 of the text; filled in when a run is planned.
    """

    complexity = "length"
    cheap_to_build = False

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=1)] = 64,
        path: str = STDLIB,
        glob: str | None = None,
        digest: str = "",
    ) -> None:
        self.text, result, self.chance = _read(gathered(path, glob))
        self.digest = same(result, digest, path)
        most = min(end - first for first, end in map(self._ends, PARTS)) - 1
        if most < 1:
            words = f"{len(self.text)} bytes are too few for three parts: the smallest has {most + 1}."
            raise InvalidFileError(words, "Give a text of at least 40 bytes.", where=path)
        if length > most:
            words = f"Windows of {length} bytes and the byte after do not fit the smallest part, of {most + 1}."
            raise InvalidValueError(words, f"Use a length of at most {most}, or a longer text.", where=path)
        self.length, self.vocabulary, self.best_accuracy = length, 256, math.nan
        self.ends = 0, len(self.text)

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """The digest of the text."""
        return {**options, "digest": cls(**options).digest}

    def for_split(self, split: Split) -> Self:
        """The bytes of that stream."""
        if split not in PARTS:
            return self
        split_task = copy.copy(self)
        split_task.ends = self._ends(split)
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Windows, and the same windows one byte further."""
        first, end = self.ends
        starts = random.integers(first, end - self.length, batch)
        windows = self.text[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        return Batch(windows[:, :-1], windows[:, 1:])

    def token_to_str(self, token: int) -> str:
        """The letter itself where it can be seen, else its escape."""
        return WORDS.get(token) or (chr(token) if 0x20 < token < 0x7F else f"\\x{token:02x}")

    def _ends(self, split: Split) -> tuple[int, int]:
        return bounds(len(self.text), split)


def bounds(size: int, split: Split) -> tuple[int, int]:
    """Where the bytes of a stream begin and end.

    >>> [bounds(1000, stream) for stream in PARTS]
    [(0, 900), (900, 950), (950, 1000)]
    """
    first, end = PARTS[split]
    return size * first // 100, size * end // 100


def gathered(path: str, glob: str | None) -> Files:
    """The files of a text, in the order of their names, with what tells whether they change.

    Raises:
        InvalidFileError: there is no such file or folder, or nothing in it fits the pattern.
        InvalidValueError: the pattern is none.
    """
    place = Path(sysconfig.get_paths()["stdlib"]) if path == STDLIB else Path(path).expanduser()
    if not place.is_dir():
        return ((place, stamp(place)),)
    pattern = glob or ("*.py" if path == STDLIB else "**/*")
    try:
        below = [(found.relative_to(place).as_posix(), found) for found in place.glob(pattern) if found.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise InvalidValueError(
            f"The glob '{glob}' is no pattern: {error}.", "Write it as **/*.py.", where=path
        ) from None
    seen = [(name, found) for name, found in below if not any(step.startswith(".") for step in name.split("/"))]
    saved = [found for _, found in sorted(seen) if glob or not _binary(found)]
    if not saved:
        words = f"No file in this folder fits {glob}." if glob else "There is no text in this folder."
        raise InvalidFileError(words, "Give a glob such as **/*.py, or another path.", where=path)
    return tuple((found, stamp(found)) for found in saved)


def _binary(path: Path) -> bool:
    """Whether it is no text: a zero byte stands in it, near the beginning."""
    with path.open("rb") as file:
        return b"\0" in file.read(2**13)


@lru_cache(maxsize=4)
def _read(files: Files) -> tuple[Bytes, str, float]:
    """The text, its SHA-256, and the share of its most frequent byte in training; one file is mapped, not read."""
    if len(files) == 1 and files[0][1][2]:
        text: Bytes = np.memmap(files[0][0], np.uint8, "r")
    else:
        text = np.frombuffer(b"".join(path.read_bytes() for path, _ in files), np.uint8)
    first, end = bounds(len(text), Split.TRAIN)
    counts = np.zeros(256, dtype=np.int64)
    digest = hashlib.sha256()
    for start in range(0, len(text), BLOCK):
        digest.update(text[start : start + BLOCK].tobytes())
        counts += np.bincount(text[max(start, first) : min(start + BLOCK, end)], minlength=256)
    return text, digest.hexdigest(), int(counts.max()) / max(1, end - first)
