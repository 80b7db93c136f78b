"""What a ladder's training differs in: values, ranges and curricula of options, and ranges that end at each level."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from attnlab.config.ladder import BARE, Ladder, by_name
from attnlab.errors import AttnlabError, InvalidValueError, echo
from attnlab.registry import Entry
from attnlab.tasks.base import TASKS, Task
from attnlab.tasks.io.curriculum import HINT, LEVEL, RANGE, Curriculum, parse_written


def with_training(ladder: Ladder, training: Any) -> Ladder:
    """Give a ladder further options that differ in the training split.

    Whether a range ``lo..level`` is empty depends on the level, and is not checked here.

    Args:
        ladder: The ladder.
        training: Option -> a value, a range ``lo..hi`` or a curriculum (``attnlab.tasks.io.curriculum``), where
            ``level`` is the option that the levels set; or the ranges of this option alone; None changes nothing. A
            range ``lo..level`` ends at the level of each run.

    Returns:
        The ladder; options that it sets already are replaced.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept a value or an end of a range, ranges cannot be read, or an option is
            given twice.
    """
    if training is None:
        return ladder
    checked = {}
    for name, (_, value) in named_training(ladder, training).items():
        try:
            checked[name] = checked_training(ladder, name, value)
        except AttnlabError as error:
            raise error.at(f"task.train.{name}") from None
    return ladder.model_copy(update={"training": {**ladder.training, **checked}})


def named_training(ladder: Ladder, training: Any) -> dict[str, tuple[str, Any]]:
    """Name the options of a training.

    Args:
        ladder: The ladder.
        training: What :func:`with_training` takes.

    Returns:
        Option -> the name under which it is written, and its value. The name of ranges alone is empty.

    Raises:
        InvalidValueError: A name is no word, or an option is given twice.
    """
    options = TASKS.entry(ladder.task).options
    given = by_name(training)
    if not isinstance(given, Mapping):
        hint = "Write ranges, or a mapping of options to ranges."
        raise InvalidValueError(f"It cannot be {echo(given)}.", hint, where="task.train")
    named: dict[str, tuple[str, Any]] = {}
    for word, value in given.items():
        if not isinstance(word, str):
            hint = f"Write the name of an option, or '{LEVEL}' for the one that the levels set."
            raise InvalidValueError(f"{echo(word)} is no option of the task.", hint, where="task.train")
        name = ladder.complexity if word == BARE or (word == LEVEL and LEVEL not in options) else word
        if name in named:
            problem = f"'{name}' is given twice: {echo(named[name][1])} and {echo(value)}."
            raise InvalidValueError(problem, "Give only one of them.", where=f"task.train.{name}")
        named[name] = word, value
    return named


def checked_training(ladder: Ladder, name: str, value: Any) -> Any:
    """Check one option of a training.

    Args:
        ladder: The ladder.
        name: The option.
        value: A value, a range or a curriculum.

    Returns:
        The value, with ranges in one way of writing; one number for a range of one.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept the value or an end of a range, or ranges cannot be read.
    """
    entry = TASKS.entry(ladder.task)
    if (written := parse_written(value)) is None:
        return _checked_value(entry, name, value)
    for end in written.numbers:
        entry.check(name, end)
    return str(written) if written.ends_at_level else _plain(written.at_level(0))


def ends_at_level(value: Any) -> bool:
    """Whether a range of training ends at the level of each run.

    >>> ends_at_level("1..level"), ends_at_level("1..40"), ends_at_level(3)
    (True, False, False)

    Args:
        value: A value of training.

    Returns:
        Whether it does.
    """
    written = parse_written(value)
    return written is not None and written.ends_at_level


def at_level(value: Any, level: Any) -> Any:
    """Write the level of a run into its ranges of training.

    >>> at_level("1..2 -> 1..level", 16), at_level("1..level", 1)
    ('1..2 -> 1..16', 1)

    Args:
        value: A value of training.
        level: The level.

    Returns:
        The value, without ``level``; one number for a range of one.

    Raises:
        InvalidValueError: The level is no integer, or below the range.
    """
    if not ends_at_level(value):
        return value
    written = parse_written(value)
    assert written is not None, "what ends at the level is a range"
    if isinstance(level, bool) or not isinstance(level, int):
        raise InvalidValueError(f"'{value}' cannot end at the level {level}.", "A range ends at an integer.")
    try:
        return _plain(written.at_level(level))
    except InvalidValueError as error:
        problem = f"'{value}' is no range at the level {level}: {error.problem}"
        raise InvalidValueError(problem, "Let it begin lower, or leave out this level.") from None


def shares_training(ladder: Ladder) -> bool:
    """Whether all levels of a ladder have one training: a range of levels that is the same for all.

    Args:
        ladder: The ladder.

    Returns:
        Whether they do.
    """
    return ladder.complexity in ladder.training and not any(map(ends_at_level, ladder.training.values()))


def _plain(curriculum: Curriculum) -> Any:
    """Ranges as they are recorded: one number for a range of one."""
    low, high = curriculum.final
    return low if low == high and not curriculum.changes else str(curriculum)


def _checked_value(entry: Entry[Task], name: str, value: Any) -> Any:
    """Check a value that is no range; words are read as a number where the task takes one."""
    try:
        return entry.check(name, value)
    except InvalidValueError as error:
        if not (isinstance(value, str) and _takes_integers(entry.options[name].accepts)):
            raise
        if (number := RANGE.fullmatch(value.strip())) and not number[2]:
            return entry.check(name, int(number[1]))
        raise InvalidValueError(error.problem, HINT) from None


def _takes_integers(accepts: Any) -> bool:
    """Whether an annotation accepts an integer."""
    if typing.get_origin(accepts) in (typing.Annotated, typing.Union, types.UnionType):
        return any(map(_takes_integers, typing.get_args(accepts)))
    return accepts is int
