from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.induction import Induction
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def draw(length: int, alphabet: int, rows: int = 200, seed: int = 0) -> tuple[Induction, Batch]:
    task = Induction(length=length, alphabet=alphabet)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_every_level_is_solved() -> None:
    assert unsolved("induction") == 0


def test_the_example_of_the_module() -> None:
    task = Induction(length=7, alphabet=4)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


@pytest.mark.parametrize(("length", "alphabet"), [(32, 16), (3, 2), (100, 5)])
def test_the_mark_occurs_once_before_the_end_with_a_letter_after_it(length: int, alphabet: int) -> None:
    task, batch = draw(length, alphabet)
    assert (task.vocabulary, task.length) == (alphabet + 1, length)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        first, last = (position for position, token in enumerate(tokens) if token == alphabet)
        assert last == length - 1
        assert targets == [IGNORE] * last + [tokens[first + 1]]
        assert tokens[first + 1] < alphabet


def test_positions_and_letters_are_uniform() -> None:
    _, batch = draw(12, 4, rows=8000)
    positions = counts((batch.inputs_BT == 4).argmax(axis=1), 10)
    assert p_value(positions) > ALPHA
    assert p_value(positions, [0.05, 0.15] + [0.1] * 8) < ALPHA
    assert p_value(counts(batch.targets_BT[:, -1], 4)) > ALPHA
    letters = batch.inputs_BT[batch.inputs_BT[:, 0] == 4]
    assert min(p_value(counts(letters[:, position], 4)) for position in range(1, 11)) > ALPHA


@pytest.mark.parametrize(("length", "alphabet"), [(3, 4), (6, 3), (8, 2)])
def test_chance_is_that_of_all_strings_listed(length: int, alphabet: int) -> None:
    strings = list(product(range(alphabet), repeat=length - 2))
    expected = sum(1 / len(set(string)) for string in strings) / len(strings)
    assert Induction(length=length, alphabet=alphabet).chance == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("length", "alphabet"), [(16, 16), (32, 4)])
def test_a_guess_among_the_letters_of_the_sequence_scores_the_chance(length: int, alphabet: int) -> None:
    task, batch = draw(length, alphabet, rows=4000)
    random = np.random.default_rng(1)
    guesses = [random.choice(np.setdiff1d(row, [alphabet])) for row in batch.inputs_BT]
    score = guess_score(task, batch, np.array(guesses)[:, None])
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 0.7 * task.chance}))


def test_token_strings() -> None:
    task = Induction(alphabet=3)
    assert [task.token_to_str(token) for token in range(4)] == ["0", "1", "2", "!"]
