"""Row check: are the rows of a file different, and do those of the test stand in training?

A model can have memorized a test row that it was trained on. Where sequences are drawn without end, repeats are
compared with chance (``_leak``); the rows of a file are there to be counted.

    rows       a a b c c c | a d        six of training and validation, two of the test
    distinct   a, b, c, d               four
    known      a                        one of the two rows of the test
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from attnlab.tasks import Split, Task
from attnlab.tasks.io.streams import generator

ROWS = 2**18
"""Most rows of each split that are compared."""
BATCH = 1024
MAX_KNOWN = 0.01
"""Largest share of the test rows that may stand in training."""


class RowCounts(NamedTuple):
    """How many rows a finite data set has, and how many of them are different."""

    rows: int
    """Rows of training, validation and test that were compared."""
    distinct: int
    """Different ones, by inputs and targets."""
    tested: int
    """Rows of the test."""
    known: int
    """Rows of the test that stand in training."""

    @property
    def leaks(self) -> bool:
        """Whether more of the test stands in training than may."""
        return self.known > MAX_KNOWN * self.tested


def count_rows(task: Task, seed: int) -> RowCounts | None:
    """Count the rows of all splits.

    Args:
        task: The task at one level.
        seed: Seed of the rows, if there are more than :data:`ROWS`.

    Returns:
        The counts; None if the sequences are no rows of a table.
    """
    if not task.has_rows:
        return None
    training, validation, test = (
        list(_digests(task, split, seed)) for split in (Split.TRAIN, Split.VALIDATION, Split.TEST)
    )
    every = [*training, *validation, *test]
    learned = set(training)
    return RowCounts(len(every), len(set(every)), len(test), sum(row in learned for row in test))


def _digests(task: Task, split: Split, seed: int) -> Iterator[bytes]:
    """A digest of each row of a split; rows of one length are padded alike in all splits."""
    for batch in task.for_split(split).held_out(generator(seed, split), ROWS, BATCH) or ():
        for inputs_T, targets_T in zip(batch.inputs_BT, batch.targets_BT, strict=True):
            yield hashlib.blake2b(inputs_T.tobytes() + targets_T.tobytes(), digest_size=16).digest()
