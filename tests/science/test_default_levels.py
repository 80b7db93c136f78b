"""Learning tests: softmax and expressive attention solve the default level of the first tasks."""

from __future__ import annotations

import pytest

import attnlab


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["softmax", "expressive"])
@pytest.mark.parametrize("task", ["recall", "copy", "parity", "delay"])
def test_the_default_level_is_solved(task: str, attention: str) -> None:
    (record,) = attnlab.train(task, attention, store=None, device="cpu")
    assert record.status == "done"
    assert record.solved, f"{record.accuracy.mean:.4f} after {record.steps} steps"
    assert record.accuracy.interval[0] >= 0.985


def test_softmax_copies_four_letters_within_its_budget() -> None:
    budget = {"max_steps": 200, "eval_every": 20}
    (record,) = attnlab.train("copy", "softmax", complexity=4, train=budget, store=None, device="cpu")
    assert record.solved
    assert record.early_stopped


def test_softmax_copies_four_letters_within_a_hundred_steps_with_learned_positions() -> None:
    budget = {"max_steps": 200, "eval_every": 20}
    (record,) = attnlab.train(
        "copy", "softmax", position="learned", complexity=4, train=budget, store=None, device="cpu"
    )
    assert record.solved
    assert record.early_stopped
    assert record.steps <= 100
    assert record.exact_match.mean >= 0.95
    assert record.history[0].loss > record.history[-1].loss
