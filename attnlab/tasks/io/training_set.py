"""A training set: a fixed number of distinct sequences, each seen once per pass, in a new order in every pass.

Sequences of one shape form a group, and a batch is taken from one group. Where all sequences have one shape there is
one group, and the batches of a pass go on where those of the pass before ended, so that every batch is full. Where the
options of training are ranges, or the rows of a file have several lengths, the groups take turns in a random order. If
one of them is smaller than a batch, they take turns in proportion to their sizes, so that no sequence is seen more
often than another.

Letters  B sequences of a batch, M of a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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
        chunks: The sequences, such as those of :func:`distinct`.
        seed: The seed of the run, which decides the order.
    """

    def __init__(self, chunks: Sequence[Batch], seed: int) -> None:
        self.seed, self.groups = seed, _merged(chunks)
        self._turns: dict[tuple[int, int], NDArray[np.int64]] = {}

    def batch(self, step: int, size: int) -> Batch:
        """Take the batch of one training step.

        Args:
            step: Index of the step, from 0.
            size: B, the number of sequences.

        Returns:
            The batch. Of a group with fewer than B sequences it has some several times if it is the only group, and
            each once if there are others.
        """
        sizes = [len(group.inputs_BT) for group in self.groups]
        turns = [math.ceil(rows / size) for rows in sizes]
        by_size = min(sizes) < size and len(sizes) > 1
        if by_size:
            turns = [rows // math.gcd(*sizes) for rows in sizes]
        number, position = divmod(step, sum(turns))
        order = self._order(number, turns)
        index = int(order[position])
        taken = number * turns[index] + int((order[:position] == index).sum())
        size = min(size, sizes[index]) if by_size else size
        return take_rows(self.groups[index], self._rows(index, taken * size, size))

    def _order(self, number: int, turns: list[int]) -> NDArray[np.int64]:
        """The groups in the order of their turns in one pass; the last order is kept."""
        key = number, sum(turns)
        if key not in self._turns:
            order = np.repeat(np.arange(len(turns)), turns)
            if len(turns) > 1:
                order = np.random.default_rng([self.seed, int(Split.ORDER), number]).permutation(order)
            self._turns = {key: order}
        return self._turns[key]

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


def distinct(draw: Draw, count: int) -> list[Batch]:
    """Draw chunks, and keep of each the sequences that no earlier one had, until there are enough.

    Args:
        draw: Draws sequences; it is called with the indices 0, 1, 2, ...
        count: The number of sequences.

    Returns:
        The sequences, in batches.

    Raises:
        InvalidValueError: The task does not have so many distinct sequences.
    """
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
            raise _too_few(len(seen), count)
    return kept


def unseen(batches: Iterable[Batch], seen: Iterable[Batch]) -> list[Batch]:
    """Keep the sequences that are not among others.

    Two sequences are one if they agree up to their last supervised position: what follows is padding, or changes no
    answer of a causal model.

    Args:
        batches: The sequences.
        seen: Those to leave out.

    Returns:
        The others, in their order; no batch is empty.
    """
    known = {key for batch in seen for key in _up_to_the_last_target(batch)}
    kept = []
    for batch in batches:
        rows = [row for row, key in enumerate(_up_to_the_last_target(batch)) if key not in known]
        if rows:
            kept.append(take_rows(batch, np.array(rows)))
    return kept


def _up_to_the_last_target(batch: Batch) -> Iterator[bytes]:
    """The inputs and targets of each sequence, without what follows its last supervised position."""
    for inputs_T, targets_T in zip(batch.inputs_BT, batch.targets_BT, strict=True):
        end = int(np.flatnonzero(targets_T != IGNORE).max(initial=-1)) + 1
        yield inputs_T[:end].tobytes() + targets_T[:end].tobytes()


def finite(batches: Iterable[Batch], count: int) -> list[Batch]:
    """Check that a finite data set has enough sequences.

    Args:
        batches: Its sequences.
        count: How many are asked for.

    Returns:
        The batches.

    Raises:
        InvalidValueError: There are fewer.
    """
    kept = list(batches)
    available = sum(len(batch.inputs_BT) for batch in kept)
    if available < count:
        raise _too_few(available, count)
    return kept


def _too_few(available: int, count: int) -> InvalidValueError:
    """The error for a training set that is larger than the task."""
    problem = f"The task has only {available:,} distinct sequences, of which {count:,} are asked for."
    hint = f"Use at most {available:,}, or leave it out to draw new sequences in every step."
    return InvalidValueError(problem, hint, where="train.train_examples")


def _merged(chunks: Sequence[Batch]) -> list[Batch]:
    """Join the chunks whose sequences have one length, in the order in which the lengths first occur."""
    by_length: dict[tuple[int, ...], list[Batch]] = {}
    for chunk in chunks:
        by_length.setdefault(chunk.inputs_BT.shape[1:], []).append(chunk)
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
