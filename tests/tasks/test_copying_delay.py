from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.copying_delay import CopyDelay
from tests.tasks.chance import DOUBT, belief, counts, guessed, met


@pytest.mark.parametrize(("lag", "symbols", "alphabet"), [(1, 1, 2), (4, 32, 16), (64, 3, 5)])
def test_due_is_what_stood_a_lag_ago(lag: int, symbols: int, alphabet: int) -> None:
    task = CopyDelay(lag=lag, symbols=symbols, alphabet=alphabet)
    assert (task.vocabulary, task.length, task.chance) == (alphabet, lag + symbols, 1 / alphabet)
    batch = task.sample(np.random.default_rng(0), 30)
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(tokens) == lag + symbols
        for place, answer in enumerate(due):
            assert answer == (tokens[place - lag] if place >= lag else IGNORE)


def test_letters_are_uniform_and_independent() -> None:
    letters = CopyDelay(lag=1, symbols=1, alphabet=4).sample(np.random.default_rng(0), 20_000).inputs_BT
    assert belief(counts(4 * letters[:, 0] + letters[:, 1], 16)) > DOUBT
    assert belief(counts(4 * letters[:, 0] + letters[:, 0], 16)) < DOUBT


@pytest.mark.parametrize("alphabet", [2, 16])
def test_chance_is_that_of_a_guess_among_the_letters(alphabet: int) -> None:
    task = CopyDelay(symbols=8, alphabet=alphabet)
    batch = task.sample(np.random.default_rng(0), 1000)
    random = np.random.default_rng(1)
    assert met(guessed(task, batch, random.integers(0, alphabet, batch.targets_BT.shape)))
    assert met(guessed(task, batch, batch.inputs_BT))
    assert not met(guessed(task, batch, random.integers(0, 2 * alphabet, batch.targets_BT.shape)))


def test_the_example_of_the_module() -> None:
    a, b, c, d = range(4)
    due = CopyDelay(lag=2, symbols=4, alphabet=4).solve([c, a, d, d, b, a])
    assert due == [IGNORE, IGNORE, c, a, d, d]


@pytest.mark.parametrize("lag", [1, 2, 4, 8, 16, 32, 64])
def test_every_rung_is_solved(lag: int) -> None:
    task = CopyDelay(lag=lag)
    batch = task.sample(np.random.default_rng(0), 200)
    assert [task.solve(tokens) for tokens in batch.inputs_BT.tolist()] == batch.targets_BT.tolist()
