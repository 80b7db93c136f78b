"""Learning tests: the default model solves the easiest level of these ladders in seconds."""

from __future__ import annotations

import pytest

from attnlab.experiments.request import Request
from attnlab.experiments.run_train import run_train
from attnlab.specs import Part
from attnlab.tasks.io.ladders import find_ladder

QUICK = (
    "compression",
    "copy",
    "copy-delay",
    "delay",
    "delay-copy",
    "delay-lag",
    "delay-xor",
    "dyck-bounded",
    "even-pairs",
    "induction",
    "majority",
    "mixture-tasks",
    "memorization",
    "modular-counting",
    "ngram",
    "parity",
    "parity-last",
    "word-s3",
    "word-z5",
)
"""The other ladders are in the table of benchmarks/README.md."""


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_easiest_level_is_solved_within_a_third_of_the_budget(name: str) -> None:
    easiest = find_ladder(name).levels[0]
    (record,) = run_train(Request(task=Part(name=name), complexity=easiest, evaluate=()), store=None, device_name="cpu")
    assert record.solved, f"{record.accuracy.mean:.4f} after {record.steps} steps"
    assert record.early_stopped
    assert record.steps <= record.spec.train.max_steps / 3
