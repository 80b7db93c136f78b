"""A training set: a fixed number of distinct sequences, each seen once per pass, in a new order in every pass.

Sequences of one shape form a group, and a batch is taken from one group. Where all sequences have one shape there is
one group, and the batches of a pass go on where those of the pass before ended, so that every batch is full. Where the
options of training are ranges, each group has options of its own, and the groups take turns in a random order.

Letters  B sequences of a batch, M of a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InvalidValueError
from attnlab.specs import Split
from attnlab.tasks.base import IGNORE, Batch

Draw = Callable[[int, int], Batch]
"""Draws the sequences of one chunk: index of the chunk, number of sequences."""
CHUNK = 256
"""Sequences that are drawn at once, and that share the options that are drawn from ranges."""
PATIENCE = 64
"""Chunks without a new sequence after which a task counts as exhausted."""


@final
class TrainingSet:
    """A fixed number of distinct training sequences.

    Args:
        draw: Draws sequences; it is called with the indices 0, 1, 2, ...
        count: The number of sequences.
        seed: The seed of the run, which decides the order.

    Raises:
        InvalidValueError: The task does not have so many distinct sequences.
    """

    def __init__(self, draw: Draw, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.groups = _merged(_distinct(draw, count))

    def batch(self, step: int, size: int) -> Batch:
        """Take the batch of one training step.

        Args:
            step: Index of the step, from 0.
            size: B, the number of sequences.

        Returns:
            The batch; a group with fewer than B sequences has some of them several times.
        """
        turns = [math.ceil(len(group.inputs_BT) / size) for group in self.groups]
        number, position = divmod(step, sum(turns))
        order = np.repeat(np.arange(len(turns)), turns)
        if len(turns) > 1:
            order = np.random.default_rng([self.seed, int(Split.ORDER), number]).permutation(order)
        index = int(order[position])
        taken = number * turns[index] + int((order[:position] == index).sum())
        return take_rows(self.groups[index], self._rows(index, taken * size, size))

    def _rows(self, index: int, start: int, size: int) -> NDArray[np.int64]:
        """Rows ``start`` to ``start + size`` of a group's endless sequence of permutations."""
        rows = len(self.groups[index].inputs_BT)
        first, last = start // rows, (start + size - 1) // rows
        seeds = ([self.seed, int(Split.ORDER), index, number] for number in range(first, last + 1))
        passes = np.concatenate([np.random.default_rng(seed).permutation(rows) for seed in seeds])
        return passes[start - first * rows :][:size]


def take_rows(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    """Take some sequences of a batch.

    Args:
        batch: M sequences.
        rows: Their indices, B; an index may occur several times.

    Returns:
        The batch of these sequences, in that order.
    """
    inputs_BT, targets_BT = batch.inputs_BT[rows], batch.targets_BT[rows]
    if batch.accepted_NW is None:
        return Batch(inputs_BT, targets_BT)
    counts_M = (batch.targets_BT != IGNORE).sum(axis=1)
    starts_M = np.cumsum(counts_M) - counts_M
    queries = [np.arange(starts_M[row], starts_M[row] + counts_M[row]) for row in rows]
    return Batch(inputs_BT, targets_BT, batch.accepted_NW[np.concatenate(queries)])


def _distinct(draw: Draw, count: int) -> list[Batch]:
    """Draw chunks, and keep of each the sequences that no earlier one had, until there are enough."""
    kept: list[Batch] = []
    seen: set[bytes] = set()
    index = without_new = 0
    while len(seen) < count:
        batch = draw(index, min(CHUNK, count))
        new: list[int] = []
        for row, (inputs_T, targets_T) in enumerate(zip(batch.inputs_BT, batch.targets_BT, strict=True)):
            key = inputs_T.tobytes() + targets_T.tobytes()
            if key not in seen and len(seen) < count:
                seen.add(key)
                new.append(row)
        index, without_new = index + 1, 0 if new else without_new + 1
        if new:
            kept.append(take_rows(batch, np.array(new)))
        elif without_new == PATIENCE:
            problem = f"The task has only {len(seen):,} distinct sequences, of which {count:,} are asked for."
            hint = f"Use at most {len(seen):,}, or leave it out to draw new sequences in every step."
            raise InvalidValueError(problem, hint, where="train.train_examples")
    return kept


def _merged(chunks: list[Batch]) -> list[Batch]:
    """Join the chunks whose sequences have one length, in the order in which the lengths first occur."""
    by_length: dict[int, list[Batch]] = {}
    for chunk in chunks:
        by_length.setdefault(chunk.inputs_BT.shape[1], []).append(chunk)
    return [_joined(same) for same in by_length.values()]


def _joined(chunks: list[Batch]) -> Batch:
    inputs_BT = np.concatenate([chunk.inputs_BT for chunk in chunks])
    targets_BT = np.concatenate([chunk.targets_BT for chunk in chunks])
    if all(chunk.accepted_NW is None for chunk in chunks):
        return Batch(inputs_BT, targets_BT)
    accepted = [chunk.query_targets()[:, None] if chunk.accepted_NW is None else chunk.accepted_NW for chunk in chunks]
    width = max(one.shape[1] for one in accepted)
    padded = [np.pad(one, ((0, 0), (0, width - one.shape[1])), constant_values=IGNORE) for one in accepted]
    return Batch(inputs_BT, targets_BT, np.concatenate(padded))
