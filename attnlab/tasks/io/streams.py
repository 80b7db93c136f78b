"""Streams of batches: each batch is a function of seed, stream and index, and of nothing else.

So the streams of training, validation and test are disjoint by construction, a run's data never depend on its
neighbors, and a run that continues in the middle needs no stored random state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attnlab.errors import InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS, Batch, Split, Task


def generator(seed: int, split: Split, index: int = 0) -> np.random.Generator:
    """The generator of one batch of one stream of one seed."""
    return np.random.default_rng([seed, int(split), index])


def build(spec: TaskSpec, options: Mapping[str, Any] | None = None) -> Task:
    """The task at its level, or with other options.

    Raises:
        UnknownNameError: no such task or option.
        InvalidValueError: an option of the wrong type or range, or options that do not go together.
    """
    entry = TASKS.entry(spec.name)
    return entry.cls(**entry.complete(spec.options if options is None else options))


ROOM = 2**14
"""Tokens of a batch of held-out sequences, at most; one sequence may be longer."""


class Source:
    """The batches of one task for one seed."""

    def __init__(self, spec: TaskSpec, seed: int, examples: int | None = None) -> None:
        self.spec, self.seed, self.train_examples = spec, seed, examples
        self.task = build(spec)
        self.other_levels = {level: build(spec, {**spec.options, spec.complexity: level}) for level in spec.evaluate}
        """The task at the levels that are tested beside its own."""
        self.ranges = {name: result for name, value in spec.train.items() if (result := span(value))}
        self._built: dict[tuple[int, ...], Task] = {}
        low, high = (self._trained({name: ends[side] for name, ends in self.ranges.items()}) for side in (0, 1))
        tasks = (self.task, low, high, *self.other_levels.values())
        self.length = max(task.length for task in tasks)
        """Tokens of the longest sequence of any stream."""
        self.vocabulary = max(task.vocabulary for task in tasks)

    def training(self, step: int, batch: int) -> Batch:
        """The batch of one step; options that are ranges are drawn anew for each batch.

        Where the number of examples is limited, the same batches come again in the same order.
        """
        index = step if self.train_examples is None else step % max(1, self.train_examples // batch)
        random = generator(self.seed, Split.TRAIN, index)
        drawn = {name: int(random.integers(low, high + 1)) for name, (low, high) in self.ranges.items()}
        return self._trained(drawn).for_split(Split.TRAIN).sample(random, batch)

    def held_out(self, split: Split, sequences: int, batch: int, task: Task | None = None) -> list[Batch]:
        """All batches of the validation or test stream, at the level itself or of another task than its own."""
        return list(self.iter_held_out(split, sequences, batch, task))

    def iter_held_out(self, split: Split, sequences: int, batch: int, task: Task | None = None) -> Iterator[Batch]:
        """Those batches one after the other, for streams too long to be held at once."""
        split_task = (task or self.task).for_split(split)
        size = max(1, min(batch, ROOM // split_task.length))
        for index, start in enumerate(range(0, sequences, size)):
            yield split_task.sample(generator(self.seed, split, index), min(size, sequences - start))

    def diagnostics_batch(self, sequences: int) -> Batch:
        """Sequences of the validation material, at the level itself, that nobody but a watcher draws."""
        return self.task.for_split(Split.VALIDATION).sample(generator(self.seed, Split.DIAGNOSTICS), sequences)

    def _trained(self, drawn: Mapping[str, int]) -> Task:
        key = tuple(drawn.values())
        if key not in self._built:
            self._built[key] = build(self.spec, {**self.spec.options, **self.spec.train, **drawn})
        return self._built[key]


def span(value: Any) -> tuple[int, int] | None:
    """The ends of a range ``lo..hi``, or None if the value is none.

    >>> span("1..40"), span(40)
    ((1, 40), None)

    Raises:
        InvalidValueError: the range is empty.
    """
    result = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", value) if isinstance(value, str) else None
    if not result:
        return None
    low, high = int(result[1]), int(result[2])
    if low > high:
        raise InvalidValueError(f"The range {value} is empty.", f"Write {high}..{low}.")
    return low, high
