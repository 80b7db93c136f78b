from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.copying import Copy, Duplicate, Reverse, write_out
from tests.tasks.chance import DOUBT, belief, counts, guessed, met

Kind = type[Copy] | type[Reverse] | type[Duplicate]
Word = Callable[[list[int]], list[int]]
KINDS: list[tuple[Kind, Word, int]] = [
    (Copy, lambda string: string, 1),
    (Reverse, lambda string: string[::-1], 1),
    (Duplicate, lambda string: string + string, 2),
]
every_kind = pytest.mark.parametrize(("kind", "answer", "times"), KINDS)


def drawn(task: Task, rows: int = 50, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


@every_kind
@pytest.mark.parametrize("symbols", [1, 3, 16])
def test_the_string_a_marker_and_the_answer_written_out(kind: Kind, answer: Word, times: int, symbols: int) -> None:
    task = kind(symbols=symbols, alphabet=4)
    assert (task.vocabulary, task.length, task.chance) == (5, (1 + times) * symbols, 0.25)
    for tokens, due in zip(*(part.tolist() for part in drawn(task)[:2]), strict=True):
        string = tokens[:symbols]
        written = answer(string)
        assert all(0 <= letter < 4 for letter in string)
        assert tokens == [*string, 4, *written[:-1]]
        assert due == [IGNORE] * symbols + written


@every_kind
def test_letters_are_uniform(kind: Kind, answer: Word, times: int) -> None:
    letters = drawn(kind(symbols=2, alphabet=3), 5000).inputs_BT[:, :2]
    assert belief(counts(3 * letters[:, 0] + letters[:, 1], 9)) > DOUBT
    skewed = np.where(np.arange(5000) % 20 == 0, 0, letters[:, 0])
    assert belief(counts(skewed, 3)) < DOUBT


@every_kind
@pytest.mark.parametrize("alphabet", [2, 5])
def test_chance_is_that_of_a_guess_among_the_letters(kind: Kind, answer: Word, times: int, alphabet: int) -> None:
    task = kind(symbols=8, alphabet=alphabet)
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    assert met(guessed(task, batch, random.integers(0, alphabet, batch.targets_BT.shape)))
    assert met(guessed(task, batch, 0))
    assert not met(guessed(task, batch, random.integers(0, alphabet + 1, batch.targets_BT.shape)))


def test_the_examples_of_the_module() -> None:
    c, a, d, bar, no = 0, 1, 2, 3, IGNORE
    copied, reversed_, doubled = (kind(symbols=3, alphabet=3) for kind in (Copy, Reverse, Duplicate))
    assert copied.solve([c, a, d, bar, c, a]) == [no, no, no, c, a, d]
    assert reversed_.solve([c, a, d, bar, d, a]) == [no, no, no, d, a, c]
    assert doubled.solve([c, a, d, bar, c, a, d, c, a]) == [no, no, no, c, a, d, c, a, d]


@every_kind
def test_the_solver_reads_the_question_only(kind: Kind, answer: Word, times: int) -> None:
    task = kind(symbols=6, alphabet=3)
    for tokens, due in zip(*(part.tolist() for part in drawn(task, 200)[:2]), strict=True):
        assert task.solve(tokens) == task.solve(tokens[:7] + [0] * (len(tokens) - 7)) == due


def test_what_is_written_out_may_be_longer_than_the_question() -> None:
    batch = write_out(np.array([[7]]), 9, np.array([[1, 2, 3]]))
    assert batch.inputs_BT.tolist() == [[7, 9, 1, 2]]
    assert batch.targets_BT.tolist() == [[IGNORE, 1, 2, 3]]


@every_kind
def test_the_marker_is_drawn_as_a_bar(kind: Kind, answer: Word, times: int) -> None:
    task = kind(symbols=2, alphabet=10)
    assert [task.token_to_str(token) for token in (0, 9, 10)] == ["0", "9", "|"]
