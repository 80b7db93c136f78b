from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.pairs import EvenPairs
from tests.tasks.chance import DOUBT, belief, counts, guessed, met


def test_the_example_of_the_module() -> None:
    assert EvenPairs(bits=5).solve([1, 0, 0, 1, 0]) == [IGNORE] * 4 + [1]


@pytest.mark.parametrize("bits", [2, 3, 10, 20, 40, 50, 100, 200])
def test_labels_are_those_of_the_solver(bits: int) -> None:
    task = EvenPairs(bits=bits)
    batch = task.sample(np.random.default_rng(0), 200)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape) == (2, bits, (200, bits))
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == due


def test_bits_are_uniform() -> None:
    words = EvenPairs(bits=3).sample(np.random.default_rng(0), 8000).inputs_BT @ np.array([4, 2, 1])
    assert belief(counts(words, 8)) > DOUBT
    assert belief(counts(words & 5, 8)[[0, 1, 4, 5]], [0.1, 0.2, 0.3, 0.4]) < DOUBT


@pytest.mark.parametrize("bits", [2, 10])
def test_chance_is_that_of_a_coin(bits: int) -> None:
    task = EvenPairs(bits=bits)
    batch = task.sample(np.random.default_rng(0), 1000)
    random = np.random.default_rng(1)
    assert task.chance == 0.5
    assert met(guessed(task, batch, random.integers(0, 2, batch.targets_BT.shape)))
    assert not met(guessed(task, batch, random.integers(0, 3, batch.targets_BT.shape)))
