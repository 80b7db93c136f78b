"""A file of sequences: your own, or one that attnlab generate wrote.

    data.jsonl       {"inputs": [3, 1, 4], "targets": [-100, -100, 2]}
    inputs   3  1  4
    targets  .  .  2

Formats: .jsonl as above, .parquet with the same two columns, .npz with arrays inputs and targets, rows x tokens, .txt
as attnlab generate writes it. Targets that are not supervised are -100, or null in .jsonl and .parquet. There, whole
numbers may be written as floats, and nan in targets is null: pandas, polars, duckdb and datasets write such files.
Columns, keys and arrays may also be called input_ids and labels; further ones are metadata, which ``split`` may name.
A sequence is a row. Training draws its rows with replacement; validation and test ask each of their rows once, and
where they have fewer than are asked for, all of them.

A target is what is predicted at its position, from the tokens up to it. Files for models of Hugging Face have each
label at its own token instead, and the model shifts them: labels is then a copy of input_ids, with -100 where nothing
is asked. Such a file is refused, because its answers stand in the inputs, until ``shift`` is given.

    shift    true       each target moves to the position before it; the first of a row is left out
             false      targets stay where they are, even if each is the input there, since copying is the task

    split    shuffled   the rows are put in a random order, which depends on their number alone; of every ten in that
                        order, the first eight are for training, the ninth for validation, the tenth for the test
             ordered    the same in the order of the file
             a column   a column, key or array of that name holds train, validation or test for each row

Rows that occur twice in the file may be in two parts; ``attnlab audit`` counts them, and fails where the test has rows
of training. Rows of several lengths are padded at the end with positions that
are not supervised. A batch has rows of similar length: see :mod:`attnlab.tasks.io.buckets`.

The vocabulary is that of data.jsonl.json, the sidecar that attnlab generate writes, or else the largest number plus
one. Chance accuracy is that of the sidecar, or else that of the best blind guess, measured on the training rows. Both
are recorded with the run, and so is the SHA-256 of the file: other content is another run.

Source   your file.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidFileError, InvalidValueError
from attnlab.tasks.base import Batch, Split, Task, register
from attnlab.tasks.io.buckets import Bucket, Buckets, Rows, bucket_widths
from attnlab.tasks.io.reading import SPLIT_LABELS, read_table
from attnlab.tasks.io.sidecar import check_digest, fingerprint, read_sidecar
from attnlab.tasks.io.table import Table

PERIOD = 10
SPLIT_ROWS = {Split.TRAIN: (0, 8), Split.VALIDATION: (8, 9), Split.TEST: (9, 10)}
"""Which of every ten rows belong to a split: first, end."""
MEASURED_ROWS = 2**14
"""Most training rows on which chance accuracy is measured."""
DRAWN = ("shuffled", "ordered")
"""The divisions that need no column."""
LABELS = dict(zip(SPLIT_ROWS, SPLIT_LABELS, strict=True))
"""How a column names each split."""
ECHOES = "All of the {:,} targets are the input at their own position, so that a model need only copy it."
SHIFT = (
    "If these are labels as Hugging Face has them, which its models shift, add shift=true: each moves to the position "
    "before it. If copying is the task, add shift=false."
)
SHUFFLE_SEED = 14
"""Seed of the order of the rows, beside their number."""


@register("file", source="your own file", version=2)
@final
class File(Task):
    """Rows of a file of your own, or of one that attnlab generate wrote.

    Options:
        path: The file, from the working directory.
        rows: Rows to train on, the first of the training part; 0 takes all.
        split: How rows are divided: shuffled, ordered, or the name of a column that holds train, validation or test.
        shift: Whether each target stands at its own token, as the labels of Hugging Face do, and is moved to the
            position before it; null does not, and refuses a file in which every target is the input there.
        vocabulary: Number of tokens; 0 takes it from the file.
        chance: Chance accuracy; null takes it from the file.
        digest: SHA-256 of the file; filled in when a run is planned.
    """

    complexity = "rows"
    has_rows = True

    def __init__(
        self,
        *,
        path: str,
        rows: Annotated[int, Field(ge=0)] = 0,
        split: Annotated[str, Field(min_length=1)] = "shuffled",
        shift: bool | None = None,
        vocabulary: Annotated[int, Field(ge=0)] = 0,
        chance: Annotated[float, Field(gt=0, le=1)] | None = None,
        digest: str = "",
    ) -> None:
        source = Path(path).expanduser()
        self.digest = check_digest(fingerprint(source), digest, path)
        self.split, self.splits_are_alike = split, split in DRAWN
        sidecar, self.table = read_sidecar(source), read_table(source, "" if split in DRAWN else split, bool(shift))
        if self.table.echoes and shift is None and sidecar is None:
            raise InvalidFileError(ECHOES.format(self.table.echoes), SHIFT, where=path)
        self.shift = bool(shift)
        count, self.length = self.table.inputs_NT.shape
        if split in DRAWN and count < PERIOD:
            problem = f"{count} rows are too few: every tenth row is for the test."
            raise InvalidFileError(problem, f"Give at least {PERIOD} rows.", where=path)
        parts = split_rows(self.table, split)
        available = len(parts[Split.TRAIN])
        if rows > available:
            hint = f"Use at most {available}, or 0 for all."
            raise InvalidValueError(
                f"{rows} rows to train on are more than the {available} that the file has.", hint, where=path
            )
        self.rows = rows or available
        parts[Split.TRAIN] = parts[Split.TRAIN][: self.rows]
        widths_N = bucket_widths(self.table.lengths_N)
        self.parts = {part: Buckets(rows_M, widths_N) for part, rows_M in parts.items()}
        self.drawn = Buckets(np.arange(count), widths_N)
        """What sequences are drawn from."""
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
        resolved = {name: getattr(task, name) for name in ("rows", "shift", "vocabulary", "chance", "digest")}
        return {**options, **resolved}

    @cached_property
    def chance(self) -> float:
        """That of the option or the sidecar, or else of the best blind guess."""
        return self.declared_chance or max(self.table.majority_share, super().chance)

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Every third row of the training part, so that no row is in two of the samples."""
        train = self.parts[Split.TRAIN]
        rows_M, width = train.rows[:MEASURED_ROWS], train.buckets[-1].width
        first, second, third = (self._take(Bucket(width, rows_M[part::3])) for part in range(3))
        return first, second, third

    def for_split(self, split: Split) -> Self:
        """Return the task with the rows of a split; for training, the first ``rows`` of them."""
        if split not in self.parts:
            return self
        split_task = copy.copy(self)
        split_task.drawn = self.parts[split]
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw rows of the split with replacement, all of one bucket of length."""
        return self._take(self.drawn.draw(random, batch))

    def held_out(self, random: np.random.Generator, sequences: int, batch: int) -> Iterator[Batch]:
        """Take rows of the split, each once."""
        return map(self._take, self.drawn.each_once(random, sequences, batch))

    def _take(self, bucket: Bucket) -> Batch:
        """The rows of a bucket, without the padding that no row of it needs."""
        return Batch(*self.table.take(bucket.rows, bucket.width))

    def token_to_str(self, token: int) -> str:
        """The string that the sidecar has for the token, or the number."""
        known = self.token_strings
        return known[token] if token < len(known) else f"{'#' if known else ''}{token}"


def split_rows(table: Table, split: str) -> dict[Split, Rows]:
    """Divide the rows of a file among training, validation and test.

    Args:
        table: The file.
        split: The option of :class:`File`.

    Returns:
        Indices of the rows of each split.
    """
    count = len(table.inputs_NT)
    if table.splits_N is not None:
        return {part: np.flatnonzero(table.splits_N == label) for part, label in LABELS.items()}
    random = np.random.default_rng([SHUFFLE_SEED, count])
    order_N = random.permutation(count) if split == "shuffled" else np.arange(count)
    position_N = np.arange(count) % PERIOD
    return {part: order_N[(position_N >= first) & (position_N < end)] for part, (first, end) in SPLIT_ROWS.items()}
