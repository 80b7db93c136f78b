"""Find a task at a level by name: built-in ladders, ladders in files, and registered tasks without a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from attnlab import resources
from attnlab.config.ladder import Ladder, ladder
from attnlab.errors import AttnlabError, InvalidValueError, UnknownNameError, echo, unknown
from attnlab.specs import Level, TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.ladder_training import at_level, checked_training, named_training

DATA = (".jsonl", ".npz", ".parquet", ".txt")
"""Suffixes of files of sequences, which are no tasks themselves."""


def builtin_ladders() -> list[Ladder]:
    """All built-in ladders, by name."""
    return [check_ladder(ladder(name)) for name in resources.names("tasks")]


def check_ladder(ladder: Ladder) -> Ladder:
    """Check that the task of a ladder exists and accepts the ladder's options, levels and training.

    Args:
        ladder: The ladder.

    Returns:
        The ladder, with the ranges of its training in one way of writing.

    Raises:
        UnknownNameError: The task or an option does not exist; the error names file and line.
        InvalidValueError: The task does not accept an option or level, a range of training cannot be read or is empty
            at a level, or the default is not a level; likewise.
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
    return _with_checked_training(ladder)


def _with_checked_training(ladder: Ladder) -> Ladder:
    """Check the options that differ in training at every level."""
    try:
        named = named_training(ladder, ladder.training)
    except InvalidValueError as error:
        raise InvalidValueError(error.problem, error.hint, where=ladder.where("training")) from None
    training = {}
    for name, (word, value) in named.items():
        try:
            training[name] = checked_training(ladder, name, value)
            for level in ladder.levels:
                at_level(training[name], level)
        except AttnlabError as error:
            raise error.at(ladder.where("training", *filter(None, [word]))) from None
    return ladder.model_copy(update={"training": training})


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
        InvalidValueError: The task does not accept an option, the level is given twice, or a range of training is empty
            at the level.
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
    except AttnlabError as error:
        raise error.at(ladder.name) from None
    train = {}
    for name, value in ladder.training.items():
        try:
            train[name] = at_level(value, chosen)
        except AttnlabError as error:
            raise error.at(f"task.train.{name}") from None
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
