"""The targets of all built-in ladders equal the output of the solver: 1,000 sequences of a level, fewer if long."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab import resources
from attnlab.config.ladder import ladder
from attnlab.tasks import IGNORE, Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source

SEQUENCES, MAX_TOKENS, FEWEST = 1000, 2**16, 50
"""Sequences of a level, up to this many tokens in all, and at least this many sequences."""
UNSOLVED = {"text", "text-length", "regular"}
"""Ladders of tasks without a solver."""

LEVELS = [(name, level) for name in resources.names("tasks") for level in ladder(name).levels]
FURTHER = [
    (name, level)
    for name in resources.names("tasks")
    for level in ladder(name).evaluate
    if level not in ladder(name).levels
]


@pytest.mark.parametrize(
    ("name", "level", "max_tokens"),
    [*((*level, MAX_TOKENS) for level in LEVELS), *((*level, MAX_TOKENS // 16) for level in FURTHER)],
)
def test_the_solver_gives_every_target(name: str, level: Any, max_tokens: int) -> None:
    source = Source(task_spec(find_ladder(name), {}, level, evaluate=()), seed=0)
    rows = min(SEQUENCES, max(FEWEST, max_tokens // source.task.length))
    num_targets, num_sequences = 0, 0
    for batch in source.iter_held_out(Split.TEST, rows, rows):
        rows_of_batch = []
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            solved = source.task.solve(tokens)
            if solved is None:
                assert name in UNSOLVED
                return
            assert solved == targets or batch.accepted_NW is not None
            rows_of_batch.append(solved)
            num_targets += sum(target != IGNORE for target in targets)
            num_sequences += 1
        if batch.accepted_NW is not None:  # any accepted token will do
            solved_BT = np.array(rows_of_batch)
            assert ((solved_BT == IGNORE) == (batch.targets_BT == IGNORE)).all()
            assert batch.correct(solved_BT[solved_BT != IGNORE]).all()
    assert num_targets >= num_sequences == rows
