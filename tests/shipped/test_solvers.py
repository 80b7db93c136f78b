"""Every label of the shelf is what a naive solver reads off the tokens: 1,000 sequences of a level, fewer if long."""

from __future__ import annotations

from typing import Any

import pytest

from attnlab import resources
from attnlab.config.ladder import ladder
from attnlab.tasks import IGNORE, Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source

SEQUENCES, ROOM, FEWEST = 1000, 2**16, 50
"""Sequences of a level, while they are of so many tokens together; but not fewer than the last of these."""
UNSOLVED = {"text", "text-length", "regular"}
"""Ladders whose answers no reading of the sequence can tell."""

RUNGS = [(name, rung) for name in resources.names("tasks") for rung in ladder(name).levels]
FURTHER = [
    (name, rung)
    for name in resources.names("tasks")
    for rung in ladder(name).evaluate
    if rung not in ladder(name).levels
]


@pytest.mark.parametrize(
    ("name", "level", "room"), [*((*rung, ROOM) for rung in RUNGS), *((*rung, ROOM // 16) for rung in FURTHER)]
)
def test_a_naive_solver_answers_every_question(name: str, level: Any, room: int) -> None:
    source = Source(task_spec(find_ladder(name), {}, level, evaluate=()), seed=0)
    rows = min(SEQUENCES, max(FEWEST, room // source.task.length))
    asked, read = 0, 0
    for batch in source.iter_held_out(Split.TEST, rows, rows):
        for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            words = source.task.solve(tokens)
            if words is None:
                assert name in UNSOLVED
                return
            assert words == due
            asked += sum(answer != IGNORE for answer in due)
            read += 1
    assert asked >= read == rows
