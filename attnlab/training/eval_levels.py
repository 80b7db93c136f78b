"""A run's task at other levels and other lengths, to be tested there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.streams import Source, span


def at_levels(task: TaskSpec, levels: list[Any]) -> list[TaskSpec]:
    """A run's task at other levels.

    Raises:
        InvalidValueError: a level that the task does not accept.
    """
    entry = TASKS.entry(task.name)
    result = []
    for level in levels:
        options = {**task.options, task.complexity: level}
        try:
            entry.check(task.complexity, level)
            entry.cls(**entry.complete(options))
        except AttnlabError as error:
            raise error.at("--complexity") from None
        result.append(without_ranges(task, options))
    return result


def at_lengths(task: TaskSpec, lengths: list[int]) -> list[TaskSpec]:
    """A run's task at other lengths in tokens: by its own ``length`` if it has one, else the highest level that fits.

    Raises:
        InvalidValueError: a length that the task does not accept, or too short for any level.
    """
    entry = TASKS.entry(task.name)
    result = []
    for length in lengths:
        try:
            own = {**task.options, "length": length}
            fits = "length" in entry.options and entry.cls(**entry.complete(own)).length == length
            options = own if fits else {**task.options, task.complexity: highest_level(task, length)}
        except AttnlabError as error:
            raise error.at(f"--length {length}") from None
        result.append(without_ranges(task, options))
    return result


def highest_level(task: TaskSpec, length: int) -> int:
    """The highest level whose sequences are no longer than that.

    Raises:
        InvalidValueError: there is none, or levels of the task are no whole numbers or do not make it longer.
    """
    entry = TASKS.entry(task.name)

    def tokens(level: int) -> int:
        return entry.cls(**entry.complete({**task.options, task.complexity: level})).length

    level = task.level
    if not isinstance(level, int) or isinstance(level, bool) or tokens(level) == tokens(level + 1):
        words = f"Sequences of {task.name} have no length that can be chosen."
        raise InvalidValueError(
            words, f"Give levels instead: --complexity, {task.complexity} was {level}.", where=f"--length {length}"
        )
    low, high = 0, max(1, level)
    while tokens(high) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(tokens, middle, length) else (low, middle)
    if low == 0:
        words = f"Not even the lowest level of {task.name} fits {length} tokens."
        raise InvalidValueError(words, f"The run's own level has {tokens(level)}.", where=f"--length {length}")
    return low


def without_ranges(task: TaskSpec, options: dict[str, Any]) -> TaskSpec:
    """The task with other options, tested there and nowhere else."""
    return task.model_copy(update={"options": options, "evaluate": (), "train": {}})


def trained_length(task: TaskSpec) -> int:
    """Tokens of the longest sequence that a run of the task is trained on; what else it is tested on may be longer."""
    ends = [{name: (span(value) or (value, value))[side] for name, value in task.train.items()} for side in (0, 1)]
    return max(Source(without_ranges(task, {**task.options, **end}), 0).task.length for end in ends)


def _fits(tokens: Callable[[int], int], level: int, length: int) -> bool:
    try:
        return tokens(level) <= length
    except InvalidValueError:
        # Below the lowest level: what fits lies higher up, if anywhere.
        return True
