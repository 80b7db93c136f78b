"""Helpers for tests of tasks: the example of a module's docstring, and the levels of a ladder."""

from __future__ import annotations

import sys

import numpy as np

from attnlab.config.ladder import ladder
from attnlab.tasks import IGNORE, Task
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build


def example(task: Task) -> tuple[list[int], list[int]]:
    """Read inputs and targets of the example in the docstring of the task's module as token ids; lines are joined."""
    ids = {task.token_to_str(token): token for token in range(task.vocabulary)}
    lines = (sys.modules[type(task).__module__].__doc__ or "").splitlines()
    inputs, targets = (
        [token for line in lines if line.split()[:1] == [word] for token in line.strip().split("      ")[0].split()[1:]]
        for word in ("inputs", "targets")
    )
    return [ids[word] for word in inputs], [IGNORE if word == "." else ids[word] for word in targets]


def unsolved(name: str, rows: int = 200) -> int:
    """Count the sequences, over all levels of a ladder, for which the solver and the targets differ."""
    wrong = 0
    for level in ladder(name).levels:
        task = build(task_spec(find_ladder(name), {}, level))
        batch = task.sample(np.random.default_rng(0), rows)
        pairs = zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
        wrong += sum(task.solve(tokens) != targets for tokens, targets in pairs)
    return wrong
