"""A run's task at another level, at another length, or both."""

from __future__ import annotations

from typing import Any

import pytest

from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.specs import TaskSpec
from attnlab.training.eval_levels import highest_level, task_at
from tests.training.runs import COPY

RECALL = TaskSpec(name="recall", options={"pairs": 2, "length": 24}, complexity="pairs")


@pytest.mark.parametrize(
    ("task", "at", "options"),
    [
        (COPY, {}, {"symbols": 2, "alphabet": 4}),
        (COPY, {"level": 5}, {"symbols": 5, "alphabet": 4}),
        (COPY, {"length": 11}, {"symbols": 5, "alphabet": 4}),
        (RECALL, {"length": 32}, {"pairs": 2, "length": 32}),
        (RECALL, {"level": 4, "length": 32}, {"pairs": 4, "length": 32}),
    ],
)
def test_options_follow_the_level_and_the_length(task: TaskSpec, at: dict[str, Any], options: dict[str, Any]) -> None:
    trained = task.model_copy(update={"train": {task.complexity: "1..4"}, "evaluate": (3,)})
    result = task_at(trained, **at)
    assert result.options == options
    assert (result.train, result.evaluate) == ({}, ())


def test_a_level_and_a_length_that_follows_from_it_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        task_at(COPY, level=4, length=32)
    assert str(caught.value) == (
        "--length 32\n  The length of copy follows from its level.\n  Give a level or a length, not both."
    )


@pytest.mark.parametrize("level", [0, "many", 1.5])
def test_a_level_that_the_task_does_not_accept_is_refused(level: Any) -> None:
    with pytest.raises(InvalidValueError, match="Option 'symbols' cannot be"):
        task_at(COPY, level=level)


def test_a_complexity_that_is_no_option_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        task_at(COPY.model_copy(update={"complexity": "missing"}), level=3)


def test_rows_of_a_file_have_the_lengths_that_they_have() -> None:
    task = TaskSpec(name="file", options={"path": "my.jsonl", "rows": 80}, complexity="rows")
    with pytest.raises(InvalidValueError) as caught:
        highest_level(task, 128)
    assert str(caught.value) == (
        "--length 128\n  The length of file cannot be chosen: its sequences are the rows of my.jsonl.\n"
        "  Leave --length out: the run is then tested on the rows of its test split."
    )


@pytest.mark.parametrize("pairs", [6, 5])
def test_the_highest_level_that_a_task_accepts_tells_nothing_about_its_length(pairs: int) -> None:
    """The level above the run's own may be none."""
    task = TaskSpec(name="recall", options={"pairs": pairs, "length": 24}, complexity="pairs")
    with pytest.raises(InvalidValueError, match="The length of recall cannot be chosen"):
        highest_level(task, 128)
