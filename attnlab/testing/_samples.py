"""Samples of an audit: a training sample to fit shortcuts on, a test sample, and a fresh sample.

training   the first sequences of the training split, with options that are ranges drawn as in training
fresh      the level itself, from generators of the training split that no training sample reaches
test       the test split
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attnlab.specs import TaskSpec
from attnlab.tasks import Batch, Split, Task
from attnlab.tasks.io.streams import Source, generator

ROWS = 64
"""Sequences of a training batch; options that are ranges are drawn for each batch."""
MAX_TOKENS = 2**17
"""Largest number of tokens of a sample, unless a single batch is longer."""
FRESH_START = 2**24
"""Index of the first fresh batch; no training sample is as long."""
FRESH_FACTOR = 4
"""Size of the fresh sample relative to the others, so that its estimates of chance are more precise."""


class TaskSamples(NamedTuple):
    """The samples of one task at one level."""

    task: Task
    training: Sequence[Batch]
    fresh: Sequence[Batch]
    test: Sequence[Batch]


def draw_samples(spec: TaskSpec, seed: int, samples: int) -> dict[str, TaskSamples]:
    """Draw the samples of a task, or of each subtask of a mixture.

    Args:
        spec: The task at one level.
        seed: Seed of the splits.
        samples: Sequences of the training and of the test sample, reduced for long sequences.

    Returns:
        The samples by the name of the subtask; under an empty name if the task is no mixture.
    """
    source = Source(spec, seed)
    subtasks = source.task.subtasks()
    return {name: _draw(source, subtask, samples) for name, subtask in subtasks.items()} or {
        "": _draw(source, None, samples)
    }


def _draw(source: Source, subtask: Task | None, samples: int) -> TaskSamples:
    """A subtask trains on its own sequences, a task on those of the training split."""
    task = subtask or source.task
    batches = -(-min(samples, max(ROWS, MAX_TOKENS // task.length)) // ROWS)
    training = [
        source.training(step, ROWS) if subtask is None else _training_batch(source, task, step)
        for step in range(batches)
    ]
    fresh = [_training_batch(source, task, FRESH_START + index) for index in range(FRESH_FACTOR * batches)]
    return TaskSamples(task, training, fresh, source.held_out(Split.TEST, ROWS * batches, 4 * ROWS, subtask))


def _training_batch(source: Source, task: Task, index: int) -> Batch:
    """A batch of the task itself, from the training split; with the targets of the test, if training has more."""
    return task.for_split(Split.TEST if task.asks_more_in_training else Split.TRAIN).sample(
        generator(source.seed, Split.TRAIN, index), ROWS
    )
