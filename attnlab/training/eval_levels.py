"""A run's task at other rungs and other lengths, to be tested there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attnlab.errors import AttnlabError, BadValue
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.streams import Source, span


def harder(task: TaskSpec, rungs: list[Any]) -> list[TaskSpec]:
    """A run's task at other rungs.

    Raises:
        BadValue: a rung that the task does not accept.
    """
    entry = TASKS.entry(task.name)
    found = []
    for rung in rungs:
        options = {**task.options, task.knob: rung}
        try:
            entry.check(task.knob, rung)
            entry.kind(**entry.complete(options))
        except AttnlabError as error:
            raise error.at("--complexity") from None
        found.append(plain(task, options))
    return found


def longer(task: TaskSpec, lengths: list[int]) -> list[TaskSpec]:
    """A run's task at other lengths in tokens: by its own ``length`` if it has one, else the highest rung that fits.

    Raises:
        BadValue: a length that the task does not accept, or too short for any rung.
    """
    entry = TASKS.entry(task.name)
    found = []
    for length in lengths:
        try:
            own = {**task.options, "length": length}
            fits = "length" in entry.options and entry.kind(**entry.complete(own)).length == length
            options = own if fits else {**task.options, task.knob: highest(task, length)}
        except AttnlabError as error:
            raise error.at(f"--length {length}") from None
        found.append(plain(task, options))
    return found


def highest(task: TaskSpec, length: int) -> int:
    """The highest rung whose sequences are no longer than that.

    Raises:
        BadValue: there is none, or rungs of the task are no whole numbers or do not make it longer.
    """
    entry = TASKS.entry(task.name)

    def tokens(rung: int) -> int:
        return entry.kind(**entry.complete({**task.options, task.knob: rung})).length

    rung = task.complexity
    if not isinstance(rung, int) or isinstance(rung, bool) or tokens(rung) == tokens(rung + 1):
        words = f"Sequences of {task.name} have no length that can be chosen."
        raise BadValue(words, f"Give rungs instead: --complexity, {task.knob} was {rung}.", where=f"--length {length}")
    low, high = 0, max(1, rung)
    while tokens(high) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(tokens, middle, length) else (low, middle)
    if low == 0:
        words = f"Not even the lowest rung of {task.name} fits {length} tokens."
        raise BadValue(words, f"The run's own rung has {tokens(rung)}.", where=f"--length {length}")
    return low


def plain(task: TaskSpec, options: dict[str, Any]) -> TaskSpec:
    """The task with other options, tested there and nowhere else."""
    return task.model_copy(update={"options": options, "evaluate": (), "train": {}})


def trained_length(task: TaskSpec) -> int:
    """Tokens of the longest sequence that a run of the task is trained on; what else it is tested on may be longer."""
    ends = [{name: (span(value) or (value, value))[side] for name, value in task.train.items()} for side in (0, 1)]
    return max(Source(plain(task, {**task.options, **end}), 0).task.length for end in ends)


def _fits(tokens: Callable[[int], int], rung: int, length: int) -> bool:
    try:
        return tokens(rung) <= length
    except BadValue:
        # Below the lowest rung: what fits lies higher up, if anywhere.
        return True
