from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.copying_delay import CopyDelay
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


@pytest.mark.parametrize(("lag", "symbols", "alphabet"), [(1, 1, 2), (4, 32, 16), (64, 3, 5)])
def test_targets_are_the_letters_a_lag_earlier(lag: int, symbols: int, alphabet: int) -> None:
    task = CopyDelay(lag=lag, symbols=symbols, alphabet=alphabet)
    assert (task.vocabulary, task.length) == (alphabet, lag + symbols)
    batch = task.sample(np.random.default_rng(0), 30)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(tokens) == lag + symbols
        for position, target in enumerate(targets):
            assert target == (tokens[position - lag] if position >= lag else IGNORE)


def test_letters_are_uniform_and_independent() -> None:
    letters = CopyDelay(lag=1, symbols=1, alphabet=4).sample(np.random.default_rng(0), 20_000).inputs_BT
    assert p_value(counts(4 * letters[:, 0] + letters[:, 1], 16)) > ALPHA
    assert p_value(counts(4 * letters[:, 0] + letters[:, 0], 16)) < ALPHA


@pytest.mark.parametrize("alphabet", [2, 16])
def test_chance_is_that_of_a_guess_among_the_letters(alphabet: int) -> None:
    task = CopyDelay(symbols=8, alphabet=alphabet)
    batch = task.sample(np.random.default_rng(0), 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, alphabet, batch.targets_BT.shape)))
    assert at_chance(uniform_score(task, batch, batch.inputs_BT))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 2 * alphabet, batch.targets_BT.shape)))


def test_the_example_of_the_module() -> None:
    a, b, c, d = range(4)
    targets = CopyDelay(lag=2, symbols=4, alphabet=4).solve([c, a, d, d, b, a])
    assert targets == [IGNORE, IGNORE, c, a, d, d]


@pytest.mark.parametrize("lag", [1, 2, 4, 8, 16, 32, 64])
def test_every_level_is_solved(lag: int) -> None:
    task = CopyDelay(lag=lag)
    batch = task.sample(np.random.default_rng(0), 200)
    assert [task.solve(tokens) for tokens in batch.inputs_BT.tolist()] == batch.targets_BT.tolist()
