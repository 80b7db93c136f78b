"""A file of sequences: your own, or one that attnlab generate wrote.

    data.jsonl       {"inputs": [3, 1, 4], "targets": [null, null, 2]}
    inputs   3  1  4
    targets  .  .  2

Formats: .jsonl as above, .parquet with the same two columns, .npz with arrays inputs and targets, rows x tokens, -100
in targets that are not supervised, .txt as attnlab generate writes it. Rows of several lengths are padded at the end
with positions that are not supervised. A sequence is a row, drawn with replacement from the part of the file that
belongs to the split: of every ten rows in order, the first eight are for training, the ninth for validation, the tenth
for the test. Rows that occur twice in the file may therefore be in two parts.

The vocabulary is that of data.jsonl.json, the sidecar that attnlab generate writes, or else the largest number plus
one. Chance accuracy is that of the sidecar, or else that of the best blind guess, measured on the training rows. Both
are recorded with the run, and so is the SHA-256 of the file: other content is another run.

Source   your file.
"""

from __future__ import annotations

import copy
import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidFileError, InvalidValueError
from attnlab.tasks.base import Batch, Split, Task, Tokens, register
from attnlab.tasks.io.reading import read_table
from attnlab.tasks.io.sidecar import check_digest, fingerprint, read_sidecar

PERIOD = 10
SPLIT_ROWS = {Split.TRAIN: (0, 8), Split.VALIDATION: (8, 9), Split.TEST: (9, 10)}
"""Which of every ten rows belong to a split: first, end."""
MEASURED_ROWS = 2**14
"""Most training rows on which chance accuracy is measured."""


@register("file", source="your own file")
@final
class File(Task):
    """Rows of a file of your own, or of one that attnlab generate wrote.

    Options:
        path: The file, from the working directory.
        rows: Rows to train on, the first of the training part; 0 takes all.
        vocabulary: Number of tokens; 0 takes it from the file.
        chance: Chance accuracy; null takes it from the file.
        digest: SHA-256 of the file; filled in when a run is planned.
    """

    complexity = "rows"

    def __init__(
        self,
        *,
        path: str,
        rows: Annotated[int, Field(ge=0)] = 0,
        vocabulary: Annotated[int, Field(ge=0)] = 0,
        chance: Annotated[float, Field(gt=0, le=1)] | None = None,
        digest: str = "",
    ) -> None:
        source = Path(path).expanduser()
        self.digest = check_digest(fingerprint(source), digest, path)
        sidecar, self.table = read_sidecar(source), read_table(source)
        count, self.length = self.table.inputs_NT.shape
        if count < PERIOD:
            problem = f"{count} rows are too few: every tenth row is for the test."
            raise InvalidFileError(problem, f"Give at least {PERIOD} rows.", where=path)
        available = count_rows(count, *SPLIT_ROWS[Split.TRAIN])
        if rows > available:
            hint = f"Use at most {available}, or 0 for all."
            raise InvalidValueError(
                f"{rows} rows to train on are more than the {available} that the file has.", hint, where=path
            )
        self.rows, self.count, self.row_range = rows or available, count, (0, PERIOD)
        least = self.table.max_token + 1
        self.vocabulary = vocabulary or (sidecar.vocabulary if sidecar else least)
        if self.vocabulary < least:
            problem = f"The token {self.table.max_token} is outside a vocabulary of {self.vocabulary}."
            raise InvalidValueError(problem, f"Use at least {least}, or 0 to take it from the file.", where=path)
        self.token_strings = sidecar.token_strings if sidecar else ()
        self.declared_chance = chance or (sidecar.chance if sidecar else None)
        best_accuracy = None if sidecar is None or sidecar.multiple_targets else sidecar.best_accuracy
        self.best_accuracy = math.nan if best_accuracy is None else best_accuracy

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Fill in the numbers that are taken from the file, and its digest."""
        task = cls(**options)
        resolved = {"rows": task.rows, "vocabulary": task.vocabulary, "chance": task.chance, "digest": task.digest}
        return {**options, **resolved}

    @cached_property
    def chance(self) -> float:
        """That of the option or the sidecar, or else of the best blind guess."""
        return self.declared_chance or max(self.table.majority_share, super().chance)

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Every third row of the training part, so that no row is in two of the samples."""
        train = self.for_split(Split.TRAIN)
        numbers = np.arange(train.count)[:MEASURED_ROWS]
        first, second, third = (train._take(numbers[part::3]) for part in range(3))
        return first, second, third

    def for_split(self, split: Split) -> Self:
        """Return the task with the rows of a split; for training, the first ``rows`` of them."""
        if split not in SPLIT_ROWS:
            return self
        split_task = copy.copy(self)
        split_task.row_range = SPLIT_ROWS[split]
        available = count_rows(len(self.table.inputs_NT), *SPLIT_ROWS[split])
        split_task.count = self.rows if split is Split.TRAIN else available
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw rows of the split with replacement."""
        return self._take(random.integers(0, self.count, batch))

    def _take(self, numbers: Tokens) -> Batch:
        """The rows of the split with these numbers, counted from 0."""
        first, end = self.row_range
        tens, ones = np.divmod(numbers, end - first)
        rows = PERIOD * tens + first + ones
        return Batch(self.table.inputs_NT[rows].astype(np.int64), self.table.targets_NT[rows].astype(np.int64))

    def token_to_str(self, token: int) -> str:
        """The string that the sidecar has for the token, or the number."""
        known = self.token_strings
        return known[token] if token < len(known) else f"{'#' if known else ''}{token}"


def count_rows(count: int, first: int, end: int) -> int:
    """Count the rows whose position in their group of ten is from ``first`` to ``end - 1``.

    >>> [count_rows(25, *rows) for rows in SPLIT_ROWS.values()]
    [21, 2, 2]

    Args:
        count: Rows of the file.
        first: First position, 0 .. 9.
        end: One after the last position.

    Returns:
        The number of rows.
    """
    return count // PERIOD * (end - first) + min(max(count % PERIOD - first, 0), end - first)
