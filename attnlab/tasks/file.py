"""A file of sequences: your own, or one that attnlab generate wrote.

    data.jsonl       {"inputs": [3, 1, 4], "targets": [null, null, 2]}
    inputs   3  1  4
    answers  .  .  2

Formats: .jsonl as above, .parquet with the same two columns, .npz with arrays inputs and targets, rows x tokens, -100
in targets where nothing is asked. Rows of several lengths are padded at the end, where nothing is asked. A sequence
is a row drawn with replacement from the part of the file that the stream may see: of every ten rows in order, the
first eight are for training, the ninth for validation, the tenth for the test. Rows that stand twice in the file may
so stand in two parts.

The vocabulary is that of data.jsonl.json, where attnlab generate left one, else the largest number and one. Chance is
likewise told there, or else the share of the most frequent answer. What was found is recorded with the run, and the
SHA-256 of the file with it: another content is another run.

Source   your file.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Annotated, Any, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidFileError, InvalidValueError
from attnlab.tasks.base import Batch, Split, Task, register
from attnlab.tasks.io.reading import table
from attnlab.tasks.io.sidecar import fingerprint, read_sidecar, same

TEN = 10
PLACES = {Split.TRAIN: (0, 8), Split.VALIDATION: (8, 9), Split.TEST: (9, 10)}
"""Which of every ten rows a stream may see: from, to."""


@register("file", source="your own file")
@final
class File(Task):
    """Rows of a file of your own, or of one that attnlab generate wrote.

    Options:
        path: The file, from the working directory.
        rows: Rows to train on, the first of the training part; 0 takes all.
        vocabulary: Number of tokens; 0 takes it from the file.
        chance: Accuracy of a blind guess; null takes it from the file.
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
        place = Path(path).expanduser()
        self.digest = same(fingerprint(place), digest, path)
        beside, self.table = read_sidecar(place), table(place)
        count, self.length = self.table.inputs_NT.shape
        if count < TEN:
            words = f"{count} rows are too few: every tenth is for the test."
            raise InvalidFileError(words, f"Give at least {TEN} rows.", where=path)
        trained = within(count, *PLACES[Split.TRAIN])
        if rows > trained:
            hint = f"Use at most {trained}, or 0 for all."
            raise InvalidValueError(
                f"{rows} rows to train on are more than the {trained} that the file has.", hint, where=path
            )
        self.rows, self.count, self.places = rows or trained, count, (0, TEN)
        least = self.table.highest + 1
        self.vocabulary = vocabulary or (beside.vocabulary if beside else least)
        if self.vocabulary < least:
            words = f"A vocabulary of {self.vocabulary} does not hold the token {self.table.highest}."
            raise InvalidValueError(words, f"Use at least {least}, or 0 to take it from the file.", where=path)
        self.symbols = beside.symbols if beside else ()
        self.chance = chance or (beside.chance if beside else self.table.favorite)
        told = None if beside is None or beside.several else beside.ceiling
        self.best_accuracy = math.nan if told is None else told

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """What was found in the file, and its digest."""
        result = cls(**options)
        data = {"rows": result.rows, "vocabulary": result.vocabulary, "chance": result.chance, "digest": result.digest}
        return {**options, **data}

    def for_split(self, split: Split) -> Self:
        """Its rows of every ten; in training, the first of them only."""
        if split not in PLACES:
            return self
        split_task = copy.copy(self)
        split_task.places = PLACES[split]
        split_task.count = self.rows if split is Split.TRAIN else within(len(self.table.inputs_NT), *PLACES[split])
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Rows of the part, drawn with replacement."""
        first, end = self.places
        tens, ones = np.divmod(random.integers(0, self.count, batch), end - first)
        drawn = TEN * tens + first + ones
        return Batch(self.table.inputs_NT[drawn].astype(np.int64), self.table.targets_NT[drawn].astype(np.int64))

    def token_to_str(self, token: int) -> str:
        """The word of the one who made the file, or the number."""
        return self.symbols[token] if token < len(self.symbols) else f"{'#' if self.symbols else ''}{token}"


def within(count: int, first: int, end: int) -> int:
    """How many of so many rows stand at the places from ``first`` to ``end`` of their ten.

    >>> [within(25, *places) for places in PLACES.values()]
    [21, 2, 2]
    """
    return count // TEN * (end - first) + min(max(count % TEN - first, 0), end - first)
