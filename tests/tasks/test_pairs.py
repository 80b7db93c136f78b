from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.pairs import EvenPairs
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def test_the_example_of_the_module() -> None:
    assert EvenPairs(bits=5).solve([1, 0, 0, 1, 0]) == [IGNORE] * 4 + [1]


@pytest.mark.parametrize("bits", [2, 3, 10, 20, 40, 50, 100, 200])
def test_labels_are_those_of_the_solver(bits: int) -> None:
    task = EvenPairs(bits=bits)
    batch = task.sample(np.random.default_rng(0), 200)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape) == (2, bits, (200, bits))
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_bits_are_uniform() -> None:
    words = EvenPairs(bits=3).sample(np.random.default_rng(0), 8000).inputs_BT @ np.array([4, 2, 1])
    assert p_value(counts(words, 8)) > ALPHA
    assert p_value(counts(words & 5, 8)[[0, 1, 4, 5]], [0.1, 0.2, 0.3, 0.4]) < ALPHA


@pytest.mark.parametrize("bits", [2, 10])
def test_chance_is_that_of_a_coin(bits: int) -> None:
    task = EvenPairs(bits=bits)
    batch = task.sample(np.random.default_rng(0), 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, 2, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 3, batch.targets_BT.shape)))
