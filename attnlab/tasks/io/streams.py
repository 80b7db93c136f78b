"""Streams of batches: each batch is a function of seed, split and index, and of nothing else.

Training, validation and test data are therefore disjoint by construction. The data of a run never depend on other runs,
and a run that is resumed needs no stored random state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS, Batch, Split, Task
from attnlab.tasks.io.buckets import batch_rows
from attnlab.tasks.io.curriculum import Range, parse_curriculum
from attnlab.tasks.io.size_check import check_options, check_task
from attnlab.tasks.io.training_set import TrainingSet, distinct, finite, unseen


def generator(seed: int, split: Split, index: int = 0) -> np.random.Generator:
    """Make the random generator of one batch.

    Args:
        seed: The seed of the run.
        split: The split that the batch belongs to.
        index: Index of the batch in the split; the default is the first.

    Returns:
        A generator with a stream of its own.
    """
    return np.random.default_rng([seed, int(split), index])


def build(spec: TaskSpec, options: Mapping[str, Any] | None = None) -> Task:
    """Build a task.

    Args:
        spec: The specification.
        options: Options to use in place of those of the specification; None keeps these.

    Returns:
        The task.

    Raises:
        UnknownNameError: The task or an option does not exist.
        InvalidValueError: An option has the wrong type or range, or options cannot be combined.
    """
    entry = TASKS.entry(spec.name)
    complete = entry.complete(spec.options if options is None else options)
    check_options(spec, complete)
    try:
        task = entry.cls(**complete)
    except (MemoryError, OverflowError) as error:
        largest = {name: value for name, value in complete.items() if isinstance(value, int)}
        words = ", ".join(f"{name}={value}" for name, value in largest.items())
        problem = f"The task cannot be made with {words}: {str(error) or 'memory ran out'}."
        raise InvalidValueError(problem, "Use smaller sizes.", where=spec.name) from None
    check_task(spec.model_copy(update={"options": complete}), task)
    _check_scorers(spec.name, task)
    return task


def _check_scorers(name: str, task: Task) -> None:
    """Refuse a task with a scorer that does not exist: a test comes at the end of the training."""
    if task.scorers:
        from attnlab.scorer import find_scorer  # late: few tasks have one

        for scorer in task.scorers:
            try:
                find_scorer(scorer)
            except AttnlabError as error:
                raise error.at(name) from None


class Source:
    """The batches of one task for one seed.

    Args:
        spec: The task.
        seed: The seed of the run.
        examples: The number of distinct training sequences; None draws new ones without end.
        steps: Steps of the training, over which the ranges of a curriculum change; None has the last ranges throughout.

    Raises:
        InvalidValueError: A range cannot be read, or the task does not accept one of its ends; or a curriculum is
            given with a limited number of sequences.
    """

    def __init__(self, spec: TaskSpec, seed: int, examples: int | None = None, steps: int | None = None) -> None:
        self.spec, self.seed, self.train_examples, self.steps = spec, seed, examples, steps
        self.task = build(spec)
        self.other_levels = {level: build(spec, {**spec.options, spec.complexity: level}) for level in spec.evaluate}
        """The task at the levels that are evaluated besides its own."""
        self.ranges = {name: found for name, value in spec.train.items() if (found := parse_curriculum(value))}
        """The ranges of each option that has one in training, by name."""
        if examples is not None and self.changes:
            problem = "A curriculum needs new sequences at every step, and their number is limited."
            raise InvalidValueError(problem, "Leave out train.train_examples or the curriculum.", where=spec.name)
        self._training_tasks: dict[tuple[int, ...], Task] = {}
        ends = [self._training_task(end) for end in training_ends(spec)]
        tasks = (self.task, *ends, *self.other_levels.values())
        self.length = max(task.length for task in tasks)
        """Tokens of the longest sequence of any split."""
        self.vocabulary = max(task.vocabulary for task in tasks)
        self.features = max(task.features for task in tasks)
        """Numbers per token, of those tasks that have most; 0 where tokens are ids."""

    def training(self, step: int, batch: int) -> Batch:
        """Draw the batch of one training step.

        Options that are ranges are drawn for each batch, from the ranges of the step. Where the number of examples is
        limited, exactly so many distinct sequences are seen, in a new order in each pass.

        Args:
            step: Index of the step.
            batch: B, the number of sequences.

        Returns:
            The batch.
        """
        return self._drawn(step, batch) if self.train_examples is None else self.training_set.batch(step, batch)

    @cached_property
    def training_set(self) -> TrainingSet:
        """The training sequences, where their number is limited."""
        assert self.train_examples is not None, "an unlimited number of sequences is no set"
        if not self.ranges:
            task, random = self._training_task({}).for_split(Split.TRAIN), generator(self.seed, Split.TRAIN)
            if (rows := task.held_out(random, self.train_examples, self.train_examples)) is not None:
                return TrainingSet(finite(rows, self.train_examples), self.seed)
        return TrainingSet(distinct(self._drawn, self.train_examples), self.seed)

    @property
    def changes(self) -> bool:
        """Whether a range of training is not the same at every step."""
        return any(curriculum.changes for curriculum in self.ranges.values())

    def ranges_at(self, step: int) -> dict[str, Range]:
        """Both ends of each range at a step, by the name of the option.

        Args:
            step: Index of the step.

        Returns:
            The ends, inclusive.
        """
        if self.steps is None:
            return {name: curriculum.final for name, curriculum in self.ranges.items()}
        return {name: curriculum.at(step, self.steps) for name, curriculum in self.ranges.items()}

    def _drawn(self, index: int, sequences: int) -> Batch:
        """Draw new training sequences; options that are ranges are drawn for all of them together."""
        random = generator(self.seed, Split.TRAIN, index)
        drawn = {name: int(random.integers(low, high + 1)) for name, (low, high) in self.ranges_at(index).items()}
        return self._training_task(drawn).for_split(Split.TRAIN).sample(random, sequences)

    def held_out(self, split: Split, sequences: int, batch: int, task: Task | None = None) -> list[Batch]:
        """Draw all batches of the validation or test split.

        Args:
            split: The split.
            sequences: The number of sequences in all.
            batch: Most sequences of a batch.
            task: The task that draws them; None takes the task at its own level.

        Returns:
            The batches.
        """
        return list(self.iter_held_out(split, sequences, batch, task))

    def iter_held_out(self, split: Split, sequences: int, batch: int, task: Task | None = None) -> Iterator[Batch]:
        """Draw the batches of ``held_out`` one at a time, for splits that are too large for memory.

        A finite data set is asked each of its sequences once, so that there are fewer than asked for if it has fewer.

        Args:
            split: The split.
            sequences: The number of sequences in all.
            batch: Most sequences of a batch.
            task: The task that draws them; None takes the task at its own level.

        Yields:
            The batches, in order.
        """
        split_task = (task or self.task).for_split(split)
        finite = split_task.held_out(generator(self.seed, split), sequences, batch)
        if finite is not None:
            yield from finite
            return
        yield from self._sampled(split, split_task, sequences, batch)

    def further(self, split: Split, seen: Sequence[Batch], sequences: int, batch: int) -> list[Batch]:
        """Draw sequences of a held-out split beyond those of :meth:`held_out`, at the task's own level.

        Args:
            split: The split.
            seen: All batches that ``held_out`` drew of it.
            sequences: The number of further sequences; a finite data set has fewer if it has no more, and of a mixture
                with one there are up to as many more as were seen.
            batch: Most sequences of a batch, as in that call.

        Returns:
            The batches; none where a finite data set has been seen as a whole.
        """
        split_task = self.task.for_split(split)
        count = sum(len(one.inputs_BT) for one in seen) + sequences
        finite = split_task.held_out(generator(self.seed, split), count, batch)
        if finite is not None:
            return unseen(finite, seen)
        return list(self._sampled(split, split_task, sequences, batch, first=len(seen)))

    def _sampled(self, split: Split, task: Task, sequences: int, batch: int, first: int = 0) -> Iterator[Batch]:
        """Sample batches of a split, from the batch of an index on."""
        size = batch_rows(batch, task.length)
        for index, start in enumerate(range(0, sequences, size), start=first):
            yield task.sample(generator(self.seed, split, index), min(size, sequences - start))

    def diagnostics_batch(self, sequences: int) -> Batch:
        """Draw validation material at the task's own level from a stream that only diagnostics use.

        Args:
            sequences: B, the number of sequences.

        Returns:
            The batch.
        """
        return self.task.for_split(Split.VALIDATION).sample(generator(self.seed, Split.DIAGNOSTICS), sequences)

    def _training_task(self, drawn: Mapping[str, int]) -> Task:
        """Build the task with the options of training, or return it if it was built before."""
        key = tuple(drawn.values())
        if key not in self._training_tasks:
            self._training_tasks[key] = build(self.spec, {**self.spec.options, **self.spec.train, **drawn})
        return self._training_tasks[key]


def training_ends(spec: TaskSpec) -> list[dict[str, int]]:
    """List the ends of the ranges of training, of all options together: what bounds the sequences.

    Args:
        spec: The task.

    Returns:
        The lower ends and the upper ends of each range in turn; options with fewer ranges keep their last. One without
        options where there are no ranges.

    Raises:
        InvalidValueError: A range cannot be read.
    """
    ranges = {name: found.ranges for name, value in spec.train.items() if (found := parse_curriculum(value))}
    most = max(map(len, ranges.values()), default=1)
    return [
        {name: own[min(index, len(own) - 1)][side] for name, own in ranges.items()}
        for index in range(most)
        for side in (0, 1)
    ]


def parse_range(value: Any) -> Range | None:
    """Parse a range ``lo..hi``, or the last of the ranges of a curriculum.

    >>> parse_range("1..40"), parse_range("3..40 -> 3..160"), parse_range(40)
    ((1, 40), (3, 160), None)

    Args:
        value: The value of an option.

    Returns:
        Both ends, inclusive; None if the value is not a range.

    Raises:
        InvalidValueError: The range is empty, or ranges cannot be read.
    """
    curriculum = parse_curriculum(value)
    return None if curriculum is None else curriculum.final
