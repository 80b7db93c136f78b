"""Text: predict the next byte of a file or folder of your own.

    inputs   T  o  ␣  b  e
    targets  o  ␣  b  e  ,

Tokens are bytes, and the target of every position is the next byte. A sequence of training is a window of the text that
starts at a uniform position. Validation and test are cut into windows that do not overlap, and ask each of them once;
where they have fewer than are asked for, all of them. The first 90 % of the bytes are for training, the next 5 % for
validation, the last 5 % for the test: in order, because a window between two others of training would be half known.
A folder is read as one text: its files in the order of their names, one after the other. Hidden files are left out.
Files with a zero byte near their beginning are left out too, unless a pattern names them. The path ``stdlib`` means the
top-level modules of the standard library of the running Python. That text is available everywhere and differs between
versions of Python.

The loss of a run is in nats per byte, so exp(loss) is the perplexity; divided by ln 2 it is bits per byte. Chance
accuracy is the share of the most frequent byte of the training split, unless another blind guess is better. The best
achievable accuracy is unknown.

Source   your text; the loss of a byte by its position in the context is the usual measure of language models.
"""

from __future__ import annotations

import copy
import hashlib
import math
import sysconfig
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Self, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidFileError, InvalidValueError
from attnlab.tasks.base import Batch, Split, Task, register
from attnlab.tasks.io.buckets import batch_rows
from attnlab.tasks.io.sidecar import Stamp, check_digest, stamp

STDLIB = "stdlib"
SPLIT_PERCENT = {Split.TRAIN: (0, 90), Split.VALIDATION: (90, 95), Split.TEST: (95, 100)}
"""Which bytes belong to a split, in percent: first, end."""
ESCAPES = {ord(" "): "␣", ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}
"""Text for bytes that are invisible."""
BLOCK_BYTES = 2**22
"""Bytes that are hashed and counted at once."""

Bytes = NDArray[np.uint8]
Files = tuple[tuple[Path, Stamp], ...]


@register("text", source="your own text", version=2)
@final
class Text(Task):
    """Predict the next byte of a text of your own, or of Python's standard library.

    Options:
        length: Bytes of a window.
        path: A file or a folder, from the working directory; ``stdlib`` is Python's own sources.
        glob: Pattern of the files of a folder, such as ``**/*.py``; null takes all text files.
        digest: SHA-256 of the text; filled in when a run is planned.
    """

    complexity = "length"
    cheap_to_build = False
    splits_are_alike = False

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=1)] = 64,
        path: str = STDLIB,
        glob: str | None = None,
        digest: str = "",
    ) -> None:
        self.text, content_digest, self.majority_share = _read(find_text_files(path, glob))
        self.digest = check_digest(content_digest, digest, path)
        longest = min(end - first for first, end in map(self._byte_range, SPLIT_PERCENT)) - 1
        if longest < 1:
            problem = f"{len(self.text)} bytes are too few for three splits: the smallest has {longest + 1}."
            raise InvalidFileError(problem, "Give a text of at least 40 bytes.", where=path)
        if length > longest:
            problem = f"Windows of {length} bytes and the next byte do not fit the smallest split, of {longest + 1}."
            raise InvalidValueError(problem, f"Use a length of at most {longest}, or a longer text.", where=path)
        self.length, self.vocabulary, self.best_accuracy = length, 256, math.nan
        self.byte_range = 0, len(self.text)

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Fill in the digest of the text."""
        return {**options, "digest": cls(**options).digest}

    @cached_property
    def chance(self) -> float:
        """That of the best blind guess; at least the share of the most frequent byte of the training split."""
        return max(self.majority_share, super().chance)

    def for_split(self, split: Split) -> Self:
        """Return the task with the bytes of a split."""
        if split not in SPLIT_PERCENT:
            return self
        split_task = copy.copy(self)
        split_task.byte_range = self._byte_range(split)
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw windows; the targets are the same windows one byte later."""
        first, end = self.byte_range
        return self._windows(random.integers(first, end - self.length, batch))

    def held_out(self, random: np.random.Generator, sequences: int, batch: int) -> Iterator[Batch]:
        """Take windows that do not overlap, in a random order."""
        first, end = self.byte_range
        order = random.permutation((end - first - 1) // self.length)[:sequences]
        size = batch_rows(batch, self.length)
        return (self._windows(first + self.length * order[at : at + size]) for at in range(0, len(order), size))

    def _windows(self, starts: NDArray[np.int64]) -> Batch:
        """The windows that start at these bytes, and the same windows one byte later."""
        windows = self.text[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        return Batch(windows[:, :-1], windows[:, 1:])

    def token_to_str(self, token: int) -> str:
        """The character where it is visible, otherwise an escape."""
        return ESCAPES.get(token) or (chr(token) if 0x20 < token < 0x7F else f"\\x{token:02x}")

    def _byte_range(self, split: Split) -> tuple[int, int]:
        """Return the first and the end of the bytes of a split."""
        return byte_range(len(self.text), split)


def byte_range(size: int, split: Split) -> tuple[int, int]:
    """Compute where the bytes of a split begin and end.

    >>> [byte_range(1000, split) for split in SPLIT_PERCENT]
    [(0, 900), (900, 950), (950, 1000)]

    Args:
        size: Bytes of the text.
        split: Training, validation or test.

    Returns:
        The first byte and one after the last.
    """
    first, end = SPLIT_PERCENT[split]
    return size * first // 100, size * end // 100


def find_text_files(path: str, glob: str | None) -> Files:
    """Find the files of a text.

    Args:
        path: A file, a folder or ``stdlib``.
        glob: Pattern of the files of a folder; None takes all text files.

    Returns:
        The files in the order of their names, each with a stamp that changes when the file does.

    Raises:
        InvalidFileError: The file or folder does not exist, or no file in it matches the pattern.
        InvalidValueError: The pattern is not valid.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if path == STDLIB else Path(path).expanduser()
    if not root.is_dir():
        return ((root, stamp(root)),)
    pattern = glob or ("*.py" if path == STDLIB else "**/*")
    try:
        below = [(file.relative_to(root).as_posix(), file) for file in root.glob(pattern) if file.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise InvalidValueError(
            f"The glob '{glob}' is not a valid pattern: {error}.", "Write it as **/*.py.", where=path
        ) from None
    visible = [(name, file) for name, file in below if not any(part.startswith(".") for part in name.split("/"))]
    files = [file for _, file in sorted(visible) if glob or not _is_binary(file)]
    if not files:
        problem = f"No file in this folder matches {glob}." if glob else "This folder has no text files."
        raise InvalidFileError(problem, "Give a glob such as **/*.py, or another path.", where=path)
    return tuple((file, stamp(file)) for file in files)


def _is_binary(path: Path) -> bool:
    """Tell whether a file has a zero byte near its beginning."""
    with path.open("rb") as file:
        return b"\0" in file.read(2**13)


@lru_cache(maxsize=4)
def _read(files: Files) -> tuple[Bytes, str, float]:
    """Return the text, its SHA-256, and the share of its most frequent training byte; a single file is mapped."""
    if len(files) == 1 and files[0][1][2]:
        text: Bytes = np.memmap(files[0][0], np.uint8, "r")
    else:
        text = np.frombuffer(b"".join(path.read_bytes() for path, _ in files), np.uint8)
    first, end = byte_range(len(text), Split.TRAIN)
    counts = np.zeros(256, dtype=np.int64)
    digest = hashlib.sha256()
    for start in range(0, len(text), BLOCK_BYTES):
        digest.update(text[start : start + BLOCK_BYTES].tobytes())
        counts += np.bincount(text[max(start, first) : min(start + BLOCK_BYTES, end)], minlength=256)
    return text, digest.hexdigest(), int(counts.max()) / max(1, end - first)
