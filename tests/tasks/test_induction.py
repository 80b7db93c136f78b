from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.induction import Induction
from tests.tasks.chance import DOUBT, belief, counts, guessed, met
from tests.tasks.examples import example, unsolved


def drawn(length: int, alphabet: int, rows: int = 200, seed: int = 0) -> tuple[Induction, Batch]:
    task = Induction(length=length, alphabet=alphabet)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_every_rung_is_solved() -> None:
    assert unsolved("induction") == 0


def test_the_example_of_the_module() -> None:
    task = Induction(length=7, alphabet=4)
    inputs, answers = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == answers


@pytest.mark.parametrize(("length", "alphabet"), [(32, 16), (3, 2), (100, 5)])
def test_the_mark_stands_once_before_the_end_and_a_letter_after_it(length: int, alphabet: int) -> None:
    task, batch = drawn(length, alphabet)
    assert (task.vocabulary, task.length) == (alphabet + 1, length)
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        first, last = (place for place, token in enumerate(tokens) if token == alphabet)
        assert last == length - 1
        assert due == [IGNORE] * last + [tokens[first + 1]]
        assert tokens[first + 1] < alphabet


def test_places_and_letters_are_uniform() -> None:
    _, batch = drawn(12, 4, rows=8000)
    places = counts((batch.inputs_BT == 4).argmax(axis=1), 10)
    assert belief(places) > DOUBT
    assert belief(places, [0.05, 0.15] + [0.1] * 8) < DOUBT
    assert belief(counts(batch.targets_BT[:, -1], 4)) > DOUBT
    letters = batch.inputs_BT[batch.inputs_BT[:, 0] == 4]
    assert min(belief(counts(letters[:, place], 4)) for place in range(1, 11)) > DOUBT


@pytest.mark.parametrize(("length", "alphabet"), [(3, 4), (6, 3), (8, 2)])
def test_chance_is_that_of_all_strings_listed(length: int, alphabet: int) -> None:
    strings = list(product(range(alphabet), repeat=length - 2))
    worth = sum(1 / len(set(string)) for string in strings) / len(strings)
    assert Induction(length=length, alphabet=alphabet).chance == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize(("length", "alphabet"), [(16, 16), (32, 4)])
def test_a_guess_among_the_letters_of_the_sequence_scores_the_chance(length: int, alphabet: int) -> None:
    task, batch = drawn(length, alphabet, rows=4000)
    random = np.random.default_rng(1)
    guesses = [random.choice(np.setdiff1d(row, [alphabet])) for row in batch.inputs_BT]
    score = guessed(task, batch, np.array(guesses)[:, None])
    assert met(score)
    assert not met(score.model_copy(update={"chance": 0.7 * task.chance}))


def test_symbols() -> None:
    task = Induction(alphabet=3)
    assert [task.token_to_str(token) for token in range(4)] == ["0", "1", "2", "!"]
