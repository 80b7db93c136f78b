from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.compression import Compression
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score
from tests.tasks.examples import example, unsolved


def test_the_example_of_the_module() -> None:
    task = Compression(symbols=3, alphabet=4)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("compression") == 0


@pytest.mark.parametrize(("symbols", "alphabet"), [(8, 16), (1, 2), (20, 3)])
def test_the_string_is_the_target_after_the_marker_and_is_not_shown_again(symbols: int, alphabet: int) -> None:
    task = Compression(symbols=symbols, alphabet=alphabet)
    assert (task.vocabulary, task.length) == (alphabet + 2, 2 * symbols)
    batch = task.sample(np.random.default_rng(0), 50)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert max(tokens[:symbols]) < alphabet
        assert tokens[symbols:] == [alphabet] + [alphabet + 1] * (symbols - 1)
        assert targets == [IGNORE] * symbols + tokens[:symbols]


def test_letters_are_uniform_and_independent() -> None:
    letters = Compression(symbols=3, alphabet=4).sample(np.random.default_rng(0), 6000).inputs_BT[:, :3]
    observed = counts(letters @ np.array([16, 4, 1]), 64)
    assert p_value(observed) > ALPHA
    assert p_value(observed, np.linspace(0.8, 1.2, 64) / 64) < ALPHA


def test_a_uniform_letter_scores_the_chance() -> None:
    task = Compression()
    batch = task.sample(np.random.default_rng(0), 1000)
    score = uniform_score(task, batch, np.random.default_rng(1).integers(0, 16, batch.targets_BT.shape))
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / 14}))


def test_token_strings() -> None:
    assert [Compression(alphabet=3).token_to_str(token) for token in range(5)] == ["0", "1", "2", "|", "·"]
