"""The task of a run at another level or at another length, to be evaluated there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.size_check import check_tokens
from attnlab.tasks.io.streams import Source, build, training_ends


def task_at(task: TaskSpec, *, level: Any = None, length: int | None = None) -> TaskSpec:
    """Build a run's task at another level, at another length, or both.

    Args:
        task: The task of the run.
        level: The value of the option that the levels set; None, the default, keeps that of the run.
        length: Length in tokens: by the option ``length`` of the task if it has one, otherwise by the highest level
            that is no longer. None, the default, keeps what follows from the options.

    Returns:
        The task with these options, without ranges and without further levels.

    Raises:
        InvalidValueError: The task does not accept the level or the length, or no sequence of it fits the memory; no
            level is short enough; or both are given and the length follows from the level.
    """
    entry = TASKS.entry(task.name)
    options = dict(task.options)
    if level is not None:
        options[task.complexity] = entry.check(task.complexity, level)
    if length is not None:
        check_tokens(length, where=f"--length {length}")
        with_length = {**options, "length": length}
        if "length" in entry.options and entry.cls(**entry.complete(with_length)).length == length:
            options = with_length
        elif level is None:
            options[task.complexity] = highest_level(task, length)
        else:
            problem = f"The length of {task.name} follows from its level."
            raise InvalidValueError(problem, "Give a level or a length, not both.", where=f"--length {length}")
    build(task, options)
    return without_ranges(task, options)


def at_levels(task: TaskSpec, levels: list[Any]) -> list[TaskSpec]:
    """Build a run's task at other levels.

    Args:
        task: The task of the run.
        levels: Values of the option that the levels set.

    Returns:
        One task per level.

    Raises:
        InvalidValueError: The task does not accept a level.
    """
    try:
        return [task_at(task, level=level) for level in levels]
    except AttnlabError as error:
        raise error.at("--complexity") from None


def at_lengths(task: TaskSpec, lengths: list[int]) -> list[TaskSpec]:
    """Build a run's task at other lengths.

    Args:
        task: The task of the run.
        lengths: Lengths in tokens, as :func:`task_at` takes them.

    Returns:
        One task per length.

    Raises:
        InvalidValueError: The task does not accept a length, or no level is short enough.
    """
    tasks = []
    for length in lengths:
        try:
            tasks.append(task_at(task, length=length))
        except AttnlabError as error:
            raise error.at(f"--length {length}") from None
    return tasks


def highest_level(task: TaskSpec, length: int) -> int:
    """Find the highest level whose sequences are no longer than a length.

    Args:
        task: The task of the run.
        length: Length in tokens.

    Returns:
        The level.

    Raises:
        InvalidValueError: No level is short enough, or the levels are no integers or do not change the length.
    """
    entry = TASKS.entry(task.name)
    if entry.cls.has_rows:
        problem = f"The length of {task.name} cannot be chosen: its sequences are the rows of {task.options['path']}."
        hint = "Leave --length out: the run is then tested on the rows of its test split."
        raise InvalidValueError(problem, hint, where=f"--length {length}")

    def tokens(level: int) -> int:
        return entry.cls(**entry.complete({**task.options, task.complexity: level})).length

    level = task.level
    if not isinstance(level, int) or isinstance(level, bool) or not _changes(tokens, level):
        problem = f"The length of {task.name} cannot be chosen."
        hint = f"Choose levels instead, with --complexity; {task.complexity} was {level}."
        raise InvalidValueError(problem, hint, where=f"--length {length}")
    low, high = 0, max(1, level)
    while tokens(high) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(tokens, middle, length) else (low, middle)
    if low == 0:
        problem = f"Not even the lowest level of {task.name} fits {length} tokens."
        raise InvalidValueError(problem, f"The run's own level has {tokens(level)}.", where=f"--length {length}")
    return low


def without_ranges(task: TaskSpec, options: dict[str, Any]) -> TaskSpec:
    """Build a task with other options, to be evaluated at these options alone.

    Args:
        task: The task of the run.
        options: All options, by name.

    Returns:
        The task without training ranges and without further levels.
    """
    return task.model_copy(update={"options": options, "evaluate": (), "train": {}})


def trained_length(task: TaskSpec) -> int:
    """Find the length of the longest sequence that a run is trained on; its test sequences may be longer.

    Args:
        task: The task of the run.

    Returns:
        Length in tokens.
    """
    return max(
        Source(without_ranges(task, {**task.options, **task.train, **end}), 0).task.length
        for end in training_ends(task)
    )


def _changes(tokens: Callable[[int], int], level: int) -> bool:
    """Whether another level has another length; a level that the task does not accept tells nothing."""
    for other in (level + 1, level - 1):
        try:
            return tokens(other) != tokens(level)
        except InvalidValueError:
            continue
    return False


def _fits(tokens: Callable[[int], int], level: int, length: int) -> bool:
    """Whether the sequences of a level are no longer than a length."""
    try:
        return tokens(level) <= length
    except InvalidValueError:
        # Below the lowest level of the task, so a level that fits can only be higher.
        return True
