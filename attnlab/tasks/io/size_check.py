"""The memory that sequences of a task take, estimated before any is drawn.

A row is counted with its inputs and targets, as many numbers again while it is drawn, and one number for each id of
the vocabulary, of which some tasks draw without replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.formatting import thousands
from attnlab.sizes import (
    MAX_INTEGER,
    MAX_LENGTH,
    MAX_VOCABULARY,
    available_memory,
    check_count,
    check_fits,
    largest_fitting,
)
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS, Task

SMALL = 2**16
"""Tokens and ids up to which one row fits any machine, and is not counted."""
MAX_OPTION = max(MAX_LENGTH, MAX_VOCABULARY)
"""The largest option of a task of ours: each unit of a size is at least one token or id."""
BYTES, OPTION_BYTES = 8, 16
"""Bytes of a token, and of what a task lists for each unit of an option."""


def row_bytes(task: Task, rows: int = 1) -> int:
    """Estimate the memory of some sequences while they are drawn.

    Args:
        task: The task.
        rows: The number of sequences.

    Returns:
        Bytes.
    """
    return BYTES * rows * (4 * task.length * max(1, task.features) + task.vocabulary)


def check_tokens(length: int, *, where: str) -> None:
    """Refuse sequences that are too long, or of which not even one fits the memory, before a task of them is made.

    Args:
        length: Tokens of a sequence.
        where: The option that asks for them.

    Raises:
        InvalidValueError: They do not fit; the message has the largest length that would.
    """
    check_fits(length, lambda count: BYTES * 4 * count, what=f"A sequence of {length:,} tokens", where=where)
    check_count(length, MAX_LENGTH, what="tokens of a sequence", where=where)


def check_options(spec: TaskSpec, options: Mapping[str, Any]) -> None:
    """Refuse options that are too large before the task is made, which may list what they count.

    Args:
        spec: The specification of the task.
        options: Its options; seeds count nothing.

    Raises:
        InvalidValueError: One is larger than the memory; or, of a task of ours, than any size that is accepted.
    """
    cls = TASKS.entry(spec.name).cls
    ours = cls.__module__.startswith(f"{__package__.rpartition('.')[0]}.") and not cls.has_rows
    for option, value in _integers(options).items():
        if value > SMALL:
            check_fits(value, lambda count: OPTION_BYTES * count, what=f"'{option}' = {value:,}", where=spec.name)
        if ours and value > MAX_OPTION:
            problem = f"'{option}' is {value:,}, more than a task can have tokens or ids."
            raise InvalidValueError(problem, _largest_hint(spec, options, option, MAX_OPTION + 1), where=spec.name)


def check_task(spec: TaskSpec, task: Task) -> None:
    """Refuse a task with longer sequences or more ids than are accepted, or of which no sequence fits the memory.

    Args:
        spec: Its specification, with the options that decide its sizes.
        task: The task.

    Raises:
        InvalidValueError: It has; the message names the largest option, and the largest value that would fit.
    """
    if not task.has_rows:  # which a file decides
        numbers, sizes = _numbers(task), _integers(spec.options)
        problem = ""
        if numbers > task.max_length:
            unit = "numbers" if task.features else "tokens"
            problem = f"The sequences have {numbers:,} {unit}; at most {task.max_length:,} are accepted."
        elif task.vocabulary > MAX_VOCABULARY:
            problem = f"There are {task.vocabulary:,} ids; at most {MAX_VOCABULARY:,} are accepted."
        if problem:
            name = max(sizes, key=lambda one: sizes[one], default="")
            hint = _largest_hint(spec, spec.options, name, sizes[name]) if name else "Use smaller sizes."
            raise InvalidValueError(problem, hint, where=spec.name)
    if task.length * max(1, task.features) > SMALL or task.vocabulary > SMALL:
        check_largest_option(spec, row_bytes)


def _numbers(task: Task) -> int:
    """Tokens of a sequence; where they have features, the numbers of all of them."""
    return task.length * max(1, task.features)


def _largest_hint(spec: TaskSpec, options: Mapping[str, Any], name: str, most: int) -> str:
    """Say which value of an option is the largest that is accepted, up to one that is not."""

    def excess(task: Task) -> int:
        return most * (_numbers(task) > task.max_length or task.vocabulary > MAX_VOCABULARY)

    def largest_if(otherwise: int) -> int:
        """The largest value where those that the task refuses itself are too large, or are not."""
        return largest_fitting(most, lambda one: _size_at(spec, options, name, one, excess, otherwise), most - 1)

    if largest := largest_if(most) or largest_if(0):
        return f"Use '{name}' of at most {largest:,}, with the other options as they are."
    return f"No value of '{name}' is accepted with the other options as they are; use smaller ones."


def _integers(options: Mapping[str, Any]) -> dict[str, int]:
    """The options that may be sizes."""
    return {name: value for name, value in options.items() if type(value) is int and not name.endswith("seed")}


def _size_at(
    spec: TaskSpec, options: Mapping[str, Any], name: str, value: int, size: Callable[[Task], int], otherwise: int = 0
) -> int:
    """A size of the task with another value of one option; ``otherwise`` where the task itself refuses it."""
    for one in (value, value - 1):  # some sizes must be even
        if (task := _built(spec, {**options, name: one})) is not None:
            return size(task)
    return otherwise


def check_largest_option(spec: TaskSpec, need: Callable[[Task], int], available: int | None = None) -> None:
    """Refuse the largest integer among the options of a task if the task takes more memory than there is.

    Args:
        spec: The specification.
        need: Bytes that a task takes.
        available: Bytes that are available; None asks the machine.

    Raises:
        InvalidValueError: It takes more; the message has the largest value of the option that would fit.
    """
    options = {**spec.options, **{name: value for name, value in spec.train.items() if isinstance(value, int)}}
    sizes = _integers(options)
    name = max(sizes, key=lambda one: sizes[one], default="")
    limit = available_memory() if available is None else available

    task = _built(spec, options)
    needed = 0 if task is None else need(task)
    if needed <= limit:
        return
    tokens = f"sequences of {thousands_of(task.length)} tokens and {thousands_of(task.vocabulary)} ids" if task else ""
    what = f"'{name}' is {thousands_of(sizes.get(name, 0))}: {tokens}"
    check_fits(
        sizes.get(name, 1),
        lambda value: _size_at(spec, options, name, value, need),
        what=what,
        where=spec.name,
        available=limit,
        multiple=2 - sizes[name] % 2,
    )


def thousands_of(number: int) -> str:
    """Format a count of any size, shortened where it has more than 64 bits.

    Args:
        number: The count.

    Returns:
        The count as text.
    """
    return thousands(number) if abs(number) <= MAX_INTEGER else f"about 10^{len(str(abs(number))) - 1}"


def check_rows(task: Task, rows: int, *, where: str) -> None:
    """Refuse more sequences than fit the memory together.

    Args:
        task: Draws them.
        rows: Their number.
        where: The option or field that asks for them.

    Raises:
        InvalidValueError: They do not fit; the message has the largest number that would.
    """
    check_fits(
        rows, lambda count: row_bytes(task, count), what=f"{rows:,} sequences of {task.length:,} tokens", where=where
    )


def _built(spec: TaskSpec, options: dict[str, Any]) -> Task | None:
    """The task with some options; None where it does not accept them."""
    entry = TASKS.entry(spec.name)
    try:
        return entry.cls(**entry.complete(options))
    except (AttnlabError, MemoryError, OverflowError):
        return None
