"""What a task is audited on: a training sample to learn shortcuts from, a test sample, and a fresh one beside it.

training   what the training stream shows first, ranges of options and all
fresh      the level itself, from the training stream's generators of much later: what chance repeats
test       the test stream
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attnlab.specs import TaskSpec
from attnlab.tasks import Batch, Split, Task
from attnlab.tasks.io.streams import Source, generator

ROWS = 64
"""Sequences of a training batch; options that are ranges are drawn anew for each."""
ROOM = 2**17
"""Tokens of a sample, at most, unless a single batch is longer."""
LATER = 2**24
"""Where fresh batches are counted from; no training sample is as long."""
FRESH = 4
"""The fresh sample is larger than the others, so that chance is known better than what is held to it."""


class Material(NamedTuple):
    """The samples of one task at one level."""

    task: Task
    training: Sequence[Batch]
    fresh: Sequence[Batch]
    test: Sequence[Batch]


def draw_samples(spec: TaskSpec, seed: int, samples: int) -> dict[str, Material]:
    """The samples of the task, under an empty name; of a mixture, those of each member by its name."""
    source = Source(spec, seed)
    members = source.task.subtasks()
    return {name: _drawn(source, subtask, samples) for name, subtask in members.items()} or {
        "": _drawn(source, None, samples)
    }


def _drawn(source: Source, member: Task | None, samples: int) -> Material:
    """A member trains on its own sequences; a task on those of the training stream."""
    task = member or source.task
    batches = -(-min(samples, max(ROWS, ROOM // task.length)) // ROWS)
    training = [
        source.training(step, ROWS) if member is None else _early(source, task, step) for step in range(batches)
    ]
    fresh = [_early(source, task, LATER + index) for index in range(FRESH * batches)]
    return Material(task, training, fresh, source.held_out(Split.TEST, ROWS * batches, 4 * ROWS, member))


def _early(source: Source, task: Task, index: int) -> Batch:
    """The task itself, as it faces training."""
    return task.for_split(Split.TRAIN).sample(generator(source.seed, Split.TRAIN, index), ROWS)
