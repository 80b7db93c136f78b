"""Find a task at a level by name: built-in ladders, ladders in files, and registered tasks without a ladder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from attnlab import resources
from attnlab.config.ladder import Ladder, ladder
from attnlab.errors import AttnlabError, InvalidValueError, UnknownNameError, echo, unknown
from attnlab.specs import Level, TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.curriculum import parse_curriculum

DATA = (".jsonl", ".npz", ".parquet", ".txt")
"""Suffixes of files of sequences, which are no tasks themselves."""


def builtin_ladders() -> list[Ladder]:
    """All built-in ladders, by name."""
    return [check_ladder(ladder(name)) for name in resources.names("tasks")]


def check_ladder(ladder: Ladder) -> Ladder:
    """Check that the task of a ladder exists and accepts the ladder's options and levels.

    Args:
        ladder: The ladder.

    Returns:
        The same ladder.

    Raises:
        UnknownNameError: The task or an option does not exist; the error names file and line.
        InvalidValueError: The task does not accept an option or level, or the default is not a level; likewise.
    """
    complexity = ladder.complexity
    if ladder.task not in TASKS:
        raise unknown("task", ladder.task, (entry.name for entry in TASKS), where=ladder.where("task"))
    entry = TASKS.entry(ladder.task)
    if complexity not in entry.options:
        where = ladder.where("complexity")
        raise unknown("option", complexity, entry.options, owner=f"'{entry.name}'", where=where)
    settings: list[tuple[tuple[str | int, ...], str, Any]] = [(("default",), complexity, ladder.default)]
    settings += [(("levels", index), complexity, level) for index, level in enumerate(ladder.levels)]
    settings += [(("evaluate", index), complexity, level) for index, level in enumerate(ladder.evaluate)]
    settings += [(("options", name), name, value) for name, value in ladder.options.items()]
    for location, name, value in settings:
        try:
            entry.check(name, value)
        except AttnlabError as error:
            raise error.at(ladder.where(*location)) from None
    if ladder.default not in ladder.levels:
        levels = ", ".join(map(str, ladder.levels))
        raise InvalidValueError(
            f"The default {ladder.default} is not a level.", f"The levels are {levels}.", where=ladder.where("default")
        )
    return ladder


def find_ladder(word: str) -> Ladder:
    """Find a ladder by its name or file, or make one for a registered task that has none.

    Args:
        word: A file, the name of a ladder, or the name of a task.

    Returns:
        The ladder. For a task without a ladder it has one level: the default of the task's complexity.

    Raises:
        UnknownNameError: Neither a ladder nor a task has this name; or it is that of a file of sequences.
        InvalidValueError: The task does not accept an option or level of the ladder.
    """
    if PurePath(word).suffix in DATA and word not in TASKS:
        problem = f"'{word}' is a file of sequences, not a task."
        raise UnknownNameError(problem, f"Write file:path={word}.", where="task")
    if resources.is_file(word) or resources.holds("tasks", word):
        return check_ladder(ladder(word))
    if word not in TASKS:
        known = {entry.name for entry in TASKS} | set(resources.names("tasks"))
        raise unknown("task", word, known, where="task")
    entry = TASKS.entry(word)
    if resources.holds("tasks", entry.name):
        return check_ladder(ladder(entry.name))
    level = entry.options[entry.cls.complexity].default
    return Ladder(
        name=entry.name,
        summary=entry.summary,
        task=entry.name,
        complexity=entry.cls.complexity,
        levels=(level,),
        default=level,
        source=entry.source,
    )


LEVEL = "level"
"""The option that the levels set, whatever its name, among options of training; the level, at the end of a range."""
OWN_END = re.compile(rf"\.\.\s*{LEVEL}\b")
"""The end of a range that each level has for its own: ``1..level``."""


def with_training(ladder: Ladder, training: Any) -> Ladder:
    """Give a ladder further options that differ in the training split.

    Args:
        ladder: The ladder.
        training: Option -> a value, a range ``lo..hi`` or a curriculum (``attnlab.tasks.io.curriculum``), where
            ``level`` is the option that the levels set; or the ranges of this option alone; None changes nothing. A
            range ``lo..level`` ends at the level of each run.

    Returns:
        The ladder; options that it sets already are replaced.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept a value or an end of a range, or ranges cannot be read.
    """
    if training is None:
        return ladder
    entry = TASKS.entry(ladder.task)
    given = dict(training) if isinstance(training, Mapping) else {LEVEL: training}
    if LEVEL in given and LEVEL not in entry.options:
        given[ladder.complexity] = given.pop(LEVEL)
    checked = {}
    for name, value in given.items():
        try:
            hardest = at_level(value, ladder.levels[-1])
            if curriculum := parse_curriculum(hardest):
                for end in sorted({end for ends in curriculum.ranges for end in ends}):
                    entry.check(name, end)
            accepted = str(curriculum) if curriculum else entry.check(name, hardest)
            checked[name] = value if ends_at_level(value) else accepted
        except AttnlabError as error:
            raise error.at(f"task.train.{name}") from None
    return ladder.model_copy(update={"training": {**ladder.training, **checked}})


def ends_at_level(value: Any) -> bool:
    """Whether a range of training ends at the level of each run.

    >>> ends_at_level("1..level"), ends_at_level("1..40"), ends_at_level(3)
    (True, False, False)

    Args:
        value: A value of training.

    Returns:
        Whether it does.
    """
    return isinstance(value, str) and OWN_END.search(value) is not None


def at_level(value: Any, level: Any) -> Any:
    """Write the level of a run into its ranges of training.

    >>> at_level("1..2 -> 1..level", 16)
    '1..2 -> 1..16'

    Args:
        value: A value of training.
        level: The level.

    Returns:
        The value, without ``level``.

    Raises:
        InvalidValueError: The level is no integer, or below the range.
    """
    if not ends_at_level(value):
        return value
    if isinstance(level, bool) or not isinstance(level, int):
        raise InvalidValueError(f"'{value}' cannot end at the level {level}.", "A range ends at an integer.")
    ended = OWN_END.sub(f"..{level}", value)
    try:
        parse_curriculum(ended)
    except InvalidValueError as error:
        problem = f"'{value}' is no range at the level {level}: {error.problem}"
        raise InvalidValueError(problem, "Let it begin lower, or leave out this level.") from None
    return ended


def shares_training(ladder: Ladder) -> bool:
    """Whether all levels of a ladder have one training: a range of levels that is the same for all.

    Args:
        ladder: The ladder.

    Returns:
        Whether they do.
    """
    return ladder.complexity in ladder.training and not any(map(ends_at_level, ladder.training.values()))


def task_spec(ladder: Ladder, options: dict[str, Any], level: Any, evaluate: Sequence[Any] | None = None) -> TaskSpec:
    """Specify a ladder's task at one level.

    Args:
        ladder: The ladder.
        options: Options of the user, which take precedence over the ladder's.
        level: The level, a value of the ladder's complexity; None takes it from the options or the ladder's default.
        evaluate: Levels that are evaluated besides this one; None takes the ladder's.

    Returns:
        The specification, with all options of the task.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept an option, or the level is given twice.
    """
    entry = TASKS.entry(ladder.task)
    complexity = ladder.complexity
    if complexity in options and level is not None:
        raise InvalidValueError(
            f"Both complexity and '{complexity}' are given; they are one option.",
            "Give only one of them.",
            where=ladder.name,
        )
    for one in (level, *(evaluate or ())):
        if one is not None and (isinstance(one, bool) or not isinstance(one, Level)):
            problem = f"A level cannot be {echo(one)}."
            levels = ", ".join(map(str, ladder.levels))
            raise InvalidValueError(problem, f"It is one number or one word, such as {levels}.", where=ladder.name)
    chosen = options.get(complexity, ladder.default if level is None else level)
    try:
        complete = entry.cls.resolve_options(entry.complete({**ladder.options, **options, complexity: chosen}))
        train = {name: _as_written(at_level(value, chosen)) for name, value in ladder.training.items()}
    except AttnlabError as error:
        raise error.at(ladder.name) from None
    others = tuple(level for level in (ladder.evaluate if evaluate is None else evaluate) if level != chosen)
    return TaskSpec(
        name=entry.name,
        options=complete,
        train=train,
        complexity=complexity,
        evaluate=others,
        version=entry.version,
        code_digest=entry.code_to_plan.digest,
    )


def _as_written(value: Any) -> Any:
    """A value of training; a curriculum in one way of writing, so that equal ones are one run."""
    curriculum = parse_curriculum(value)
    return str(curriculum) if curriculum and curriculum.changes else value
