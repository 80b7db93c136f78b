"""The memory that sequences of a task take, estimated before any is drawn.

A row is counted with its inputs and targets, as many numbers again while it is drawn, and one number for each id of
the vocabulary, of which some tasks draw without replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attnlab.errors import AttnlabError
from attnlab.formatting import thousands
from attnlab.sizes import MAX_INTEGER, available_memory, check_fits
from attnlab.specs import TaskSpec
from attnlab.tasks.base import TASKS, Task

SMALL = 2**16
"""Tokens and ids up to which one row fits any machine, and is not counted."""
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
    """Refuse sequences of which not even one fits the memory, before a task of them is made.

    Args:
        length: Tokens of a sequence.
        where: The option that asks for them.

    Raises:
        InvalidValueError: It does not fit; the message has the largest length that would.
    """
    check_fits(length, lambda count: BYTES * 4 * count, what=f"A sequence of {length:,} tokens", where=where)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that are larger than the memory before the task is made, which may list what they count.

    Args:
        name: The task.
        options: Its options; seeds count nothing.

    Raises:
        InvalidValueError: One is.
    """
    for option, value in options.items():
        if isinstance(value, int) and value > SMALL and not option.endswith("seed"):
            check_fits(value, lambda count: OPTION_BYTES * count, what=f"'{option}' = {value:,}", where=name)


def check_task(spec: TaskSpec, task: Task) -> None:
    """Refuse a task of which not even one sequence fits the memory.

    Args:
        spec: Its specification, with the options that decide its sizes.
        task: The task.

    Raises:
        InvalidValueError: One does not; the message names the largest option, and the largest value that would fit.
    """
    if task.length * max(1, task.features) > SMALL or task.vocabulary > SMALL:
        check_largest_option(spec, row_bytes)


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
    sizes = {name: value for name, value in options.items() if isinstance(value, int)}
    name = max(sizes, key=lambda one: sizes[one], default="")
    limit = available_memory() if available is None else available

    def need_at(value: int) -> int:
        for one in (value, value - 1):  # some sizes must be even
            if (task := _built(spec, {**options, name: one})) is not None:
                return need(task)
        return 0  # refused for another reason than its size

    task = _built(spec, options)
    needed = 0 if task is None else need(task)
    if needed <= limit:
        return
    tokens = f"sequences of {thousands_of(task.length)} tokens and {thousands_of(task.vocabulary)} ids" if task else ""
    what = f"'{name}' is {thousands_of(sizes.get(name, 0))}: {tokens}"
    check_fits(sizes.get(name, 1), need_at, what=what, where=spec.name, available=limit, multiple=2 - sizes[name] % 2)


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
