"""From a word to a task at a rung: ladders of the shelf, ladders of a file, registered tasks without a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnlab import resources
from attnlab.config.ladder import Ladder, ladder
from attnlab.errors import AttnlabError, BadValue, unknown
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS


def shipped() -> list[Ladder]:
    """Every ladder of the shelf, by name."""
    return [checked(ladder(name)) for name in resources.names("tasks")]


def checked(climbed: Ladder) -> Ladder:
    """The ladder, if its task exists and accepts its options and rungs.

    Raises:
        UnknownName: no such task or option; carries file and line.
        BadValue: an option or rung that the task does not accept; likewise.
    """
    knob = climbed.complexity
    if climbed.task not in TASKS:
        raise unknown("task", climbed.task, (entry.name for entry in TASKS), where=climbed.where("task"))
    entry = TASKS.entry(climbed.task)
    if knob not in entry.options:
        raise unknown(f"option of {entry.name}", knob, entry.options, where=climbed.where("complexity"))
    said: list[tuple[tuple[str | int, ...], str, Any]] = [(("default",), knob, climbed.default)]
    said += [(("rungs", index), knob, rung) for index, rung in enumerate(climbed.rungs)]
    said += [(("evaluate", index), knob, rung) for index, rung in enumerate(climbed.evaluate)]
    said += [(("options", name), name, value) for name, value in climbed.options.items()]
    for place, name, value in said:
        try:
            entry.check(name, value)
        except AttnlabError as error:
            raise error.at(climbed.where(*place)) from None
    if climbed.default not in climbed.rungs:
        rungs = ", ".join(map(str, climbed.rungs))
        raise BadValue(f"{climbed.default} is no rung.", f"The rungs are {rungs}.", where=climbed.where("default"))
    return climbed


def find_ladder(word: str) -> Ladder:
    """The ladder of that name or file; a registered task without one climbs its own knob from its default.

    Raises:
        UnknownName: neither a ladder nor a task.
    """
    if resources.is_file(word) or resources.holds("tasks", word):
        return checked(ladder(word))
    if word not in TASKS:
        known = {entry.name for entry in TASKS} | set(resources.names("tasks"))
        raise unknown("task", word, known, where="task")
    entry = TASKS.entry(word)
    if resources.holds("tasks", entry.name):
        return checked(ladder(entry.name))
    rung = entry.options[entry.kind.knob].default
    return Ladder(
        name=entry.name,
        summary=entry.summary,
        task=entry.name,
        complexity=entry.kind.knob,
        rungs=(rung,),
        default=rung,
        source=entry.source,
    )


def task_spec(climbed: Ladder, options: dict[str, Any], rung: Any, evaluate: Sequence[Any] | None = None) -> TaskSpec:
    """A ladder's task at one rung, with the user's options over the ladder's, and the rungs tested beside it."""
    entry = TASKS.entry(climbed.task)
    knob = climbed.complexity
    if knob in options and rung is not None:
        raise BadValue(f"Both complexity and '{knob}' are given; they are one option.", "Give one.", where=climbed.name)
    chosen = options.get(knob, climbed.default if rung is None else rung)
    with_rung = {**climbed.options, **options, knob: chosen}
    try:
        complete = entry.kind.settled(entry.complete(with_rung))
    except AttnlabError as error:
        raise error.at(climbed.name) from None
    others = tuple(rung for rung in (climbed.evaluate if evaluate is None else evaluate) if rung != chosen)
    return TaskSpec(
        name=entry.name, options=complete, train=climbed.training, knob=knob, evaluate=others, version=entry.version
    )
