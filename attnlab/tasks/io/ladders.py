"""From a word to a task at a level: ladders of the shelf, ladders of a file, registered tasks without a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnlab import resources
from attnlab.config.ladder import Ladder, ladder
from attnlab.errors import AttnlabError, InvalidValueError, unknown
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS


def shipped() -> list[Ladder]:
    """Every ladder of the shelf, by name."""
    return [checked(ladder(name)) for name in resources.names("tasks")]


def checked(ladder: Ladder) -> Ladder:
    """The ladder, if its task exists and accepts its options and levels.

    Raises:
        UnknownNameError: no such task or option; carries file and line.
        InvalidValueError: an option or level that the task does not accept; likewise.
    """
    complexity = ladder.complexity
    if ladder.task not in TASKS:
        raise unknown("task", ladder.task, (entry.name for entry in TASKS), where=ladder.where("task"))
    entry = TASKS.entry(ladder.task)
    if complexity not in entry.options:
        raise unknown(f"option of {entry.name}", complexity, entry.options, where=ladder.where("complexity"))
    predictions: list[tuple[tuple[str | int, ...], str, Any]] = [(("default",), complexity, ladder.default)]
    predictions += [(("levels", index), complexity, level) for index, level in enumerate(ladder.levels)]
    predictions += [(("evaluate", index), complexity, level) for index, level in enumerate(ladder.evaluate)]
    predictions += [(("options", name), name, value) for name, value in ladder.options.items()]
    for place, name, value in predictions:
        try:
            entry.check(name, value)
        except AttnlabError as error:
            raise error.at(ladder.where(*place)) from None
    if ladder.default not in ladder.levels:
        levels = ", ".join(map(str, ladder.levels))
        raise InvalidValueError(
            f"{ladder.default} is no level.", f"The levels are {levels}.", where=ladder.where("default")
        )
    return ladder


def find_ladder(word: str) -> Ladder:
    """The ladder of that name or file; a registered task without one climbs its own complexity from its default.

    Raises:
        UnknownNameError: neither a ladder nor a task.
    """
    if resources.is_file(word) or resources.holds("tasks", word):
        return checked(ladder(word))
    if word not in TASKS:
        known = {entry.name for entry in TASKS} | set(resources.names("tasks"))
        raise unknown("task", word, known, where="task")
    entry = TASKS.entry(word)
    if resources.holds("tasks", entry.name):
        return checked(ladder(entry.name))
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
    """A ladder's task at one level, with the user's options over the ladder's, and the levels tested beside it."""
    entry = TASKS.entry(ladder.task)
    complexity = ladder.complexity
    if complexity in options and level is not None:
        raise InvalidValueError(
            f"Both complexity and '{complexity}' are given; they are one option.", "Give one.", where=ladder.name
        )
    chosen = options.get(complexity, ladder.default if level is None else level)
    with_rung = {**ladder.options, **options, complexity: chosen}
    try:
        complete = entry.cls.resolve_options(entry.complete(with_rung))
    except AttnlabError as error:
        raise error.at(ladder.name) from None
    others = tuple(level for level in (ladder.evaluate if evaluate is None else evaluate) if level != chosen)
    return TaskSpec(
        name=entry.name,
        options=complete,
        train=ladder.training,
        complexity=complexity,
        evaluate=others,
        version=entry.version,
    )
