"""Every size option of every task: as large as it is accepted, chance and a sequence take seconds; more is refused."""

from __future__ import annotations

import time
import types
import typing
from typing import Any

import numpy as np
import pytest

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.sizes import MAX_LENGTH, MAX_VOCABULARY
from attnlab.specs import Split, TaskSpec
from attnlab.tasks.base import TASKS, Task
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build

SECONDS = 5.0
"""Processor time of what stands before the first sequence, or the first training step."""
ABSURD = 10**9


def _is_size(accepts: Any) -> bool:
    """Whether an option is a whole number, or one or None."""
    if typing.get_origin(accepts) in (typing.Union, types.UnionType):
        return any(map(_is_size, typing.get_args(accepts)))
    return accepts is int or (typing.get_origin(accepts) is typing.Annotated and typing.get_args(accepts)[0] is int)


SIZES = [
    (entry.name, name)
    for entry in TASKS
    for name, option in entry.options.items()
    if entry.cls.__module__.startswith("attnlab.")
    and not entry.required
    and not name.endswith("seed")
    and _is_size(option.accepts)
]


def _spec(task: str, option: str, value: int) -> TaskSpec:
    return task_spec(find_ladder(task), {option: value}, None, evaluate=())


def _built(task: str, option: str, value: int) -> Task | None:
    try:
        return build(_spec(task, option, value))
    except AttnlabError:
        return None


def _largest(task: str, option: str) -> tuple[int, Task] | None:
    """The largest accepted value of an option, within a sixteenth, and the task; None where only its default is."""
    accepted = [value for value in (2**power for power in range(19)) if _built(task, option, value)]
    if not accepted:
        return None
    low, high = accepted[-1], 2 * accepted[-1]
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if _built(task, option, middle) else (low, middle)
    largest = _built(task, option, low)
    assert largest is not None
    return low, largest


def test_every_task_has_a_size() -> None:
    assert len(SIZES) > 100
    assert {"copy", "dyck", "mano", "word-problem"} <= {task for task, _ in SIZES}


@pytest.mark.parametrize(("task", "option"), SIZES)
def test_an_absurd_size_is_refused_at_once_or_changes_no_size(task: str, option: str) -> None:
    start = time.process_time()
    found = _built(task, option, ABSURD)
    assert time.process_time() - start < SECONDS
    if found is not None:  # such as a bound that is never reached
        assert found.length <= MAX_LENGTH
        assert found.vocabulary <= MAX_VOCABULARY


@pytest.mark.slow
@pytest.mark.parametrize(("task", "option"), SIZES)
def test_the_largest_accepted_size_takes_seconds(task: str, option: str) -> None:
    found = _largest(task, option)
    if found is None:
        return  # refused for another reason, such as keys that must be fewer than values
    value, _ = found
    start = time.process_time()
    largest = build(_spec(task, option, value))
    largest.for_split(Split.TRAIN).sample(np.random.default_rng(0), 1)
    assert 0 <= largest.chance <= 1
    assert 0 <= largest.exact_match_chance <= 1
    assert time.process_time() - start < SECONDS, f"{task}: {option} = {value}"


@pytest.mark.parametrize(
    ("task", "option", "value", "expected"),
    [
        ("copy", "symbols", 65_537, "The sequences have 131,074 tokens; at most 131,072 are accepted."),
        ("copy", "symbols", 10**7, "'symbols' is 10,000,000, more than a task can have tokens or ids."),
        ("copy", "alphabet", MAX_VOCABULARY, "There are 262,145 ids; at most 262,144 are accepted."),
        ("in-context-regression", "dimensions", 1000, "The sequences have 4,005,001 numbers; at most 131,072 are"),
        ("mano", "operations", 10_000, "The sequences have 20,002 tokens; at most 4,096 are accepted."),
    ],
)
def test_what_is_too_large_is_refused_with_the_largest_that_is_accepted(
    task: str, option: str, value: int, expected: str
) -> None:
    with pytest.raises(InvalidValueError) as refused:
        build(_spec(task, option, value))
    assert expected in str(refused.value)
    words = str(refused.value).rpartition(f"Use '{option}' of at most ")[2].partition(", with the other")[0]
    largest = int(words.replace(",", ""))
    assert _built(task, option, largest) is not None
    assert _built(task, option, largest + 1) is None


@pytest.mark.parametrize(
    ("task", "options", "expected"),
    [
        ("dyck", {"pairs": 4096, "depth": 2048}, "Use a depth of at most 512, or null for no limit."),
        ("recall-noisy", {"keys": 64, "uses": 64}, "Use at most 16 uses, or fewer keys."),
        ("recall-stream", {"keys": 256, "uses": 64}, "Use at most 32 uses, or fewer keys."),
        ("multi-stack", {"operations": 4096, "stacks": 64}, "Use at most 32 stacks, or fewer operations."),
        ("regular", {"letters": 256, "states": 16}, "Use at most 4,096 automata, or fewer letters."),
        ("word-problem", {"length": 5000, "asked": "identity"}, "Use a length of at most 4,096"),
    ],
)
def test_sizes_that_are_costly_together_are_refused(task: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        build(task_spec(find_ladder(task), options, None, evaluate=()))
    assert expected in str(refused.value)
