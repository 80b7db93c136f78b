from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.copying import Copy, Duplicate, Reverse, write_out
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score

TaskClass = type[Copy] | type[Reverse] | type[Duplicate]
Output = Callable[[list[int]], list[int]]
CASES: list[tuple[TaskClass, Output, int]] = [
    (Copy, lambda string: string, 1),
    (Reverse, lambda string: string[::-1], 1),
    (Duplicate, lambda string: string + string, 2),
]
every_case = pytest.mark.parametrize(("cls", "output", "times"), CASES)


def draw(task: Task, rows: int = 50, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


@every_case
@pytest.mark.parametrize("symbols", [1, 3, 16])
def test_the_string_a_marker_and_the_output(cls: TaskClass, output: Output, times: int, symbols: int) -> None:
    task = cls(symbols=symbols, alphabet=4)
    assert (task.vocabulary, task.length) == (5, (1 + times) * symbols)
    for tokens, targets in zip(*(part.tolist() for part in draw(task)[:2]), strict=True):
        string = tokens[:symbols]
        written = output(string)
        assert all(0 <= letter < 4 for letter in string)
        assert tokens == [*string, 4, *written[:-1]]
        assert targets == [IGNORE] * symbols + written


@every_case
def test_letters_are_uniform(cls: TaskClass, output: Output, times: int) -> None:
    letters = draw(cls(symbols=2, alphabet=3), 5000).inputs_BT[:, :2]
    assert p_value(counts(3 * letters[:, 0] + letters[:, 1], 9)) > ALPHA
    skewed = np.where(np.arange(5000) % 20 == 0, 0, letters[:, 0])
    assert p_value(counts(skewed, 3)) < ALPHA


@every_case
@pytest.mark.parametrize("alphabet", [2, 5])
def test_chance_is_that_of_a_guess_among_the_letters(cls: TaskClass, output: Output, times: int, alphabet: int) -> None:
    task = cls(symbols=8, alphabet=alphabet)
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, alphabet, batch.targets_BT.shape)))
    assert at_chance(uniform_score(task, batch, 0))
    assert not at_chance(uniform_score(task, batch, random.integers(0, alphabet + 1, batch.targets_BT.shape)))


def test_the_examples_of_the_module() -> None:
    c, a, d, bar, no = 0, 1, 2, 3, IGNORE
    copied, reversed_, doubled = (cls(symbols=3, alphabet=3) for cls in (Copy, Reverse, Duplicate))
    assert copied.solve([c, a, d, bar, c, a]) == [no, no, no, c, a, d]
    assert reversed_.solve([c, a, d, bar, d, a]) == [no, no, no, d, a, c]
    assert doubled.solve([c, a, d, bar, c, a, d, c, a]) == [no, no, no, c, a, d, c, a, d]


@every_case
def test_the_solver_reads_the_question_only(cls: TaskClass, output: Output, times: int) -> None:
    task = cls(symbols=6, alphabet=3)
    for tokens, targets in zip(*(part.tolist() for part in draw(task, 200)[:2]), strict=True):
        assert task.solve(tokens) == task.solve(tokens[:7] + [0] * (len(tokens) - 7)) == targets


def test_what_is_written_out_may_be_longer_than_the_question() -> None:
    batch = write_out(np.array([[7]]), 9, np.array([[1, 2, 3]]))
    assert batch.inputs_BT.tolist() == [[7, 9, 1, 2]]
    assert batch.targets_BT.tolist() == [[IGNORE, 1, 2, 3]]


@every_case
def test_the_marker_is_shown_as_a_bar(cls: TaskClass, output: Output, times: int) -> None:
    task = cls(symbols=2, alphabet=10)
    assert [task.token_to_str(token) for token in (0, 9, 10)] == ["0", "9", "|"]


@pytest.mark.parametrize("duplication", [1, 2, 5])
def test_a_string_is_written_as_often_as_asked(duplication: int) -> None:
    task = Duplicate(symbols=4, alphabet=3, duplication=duplication)
    assert task.length == 4 * (1 + duplication)
    for tokens, targets in zip(*(part.tolist() for part in draw(task)[:2]), strict=True):
        assert targets == [IGNORE] * 4 + tokens[:4] * duplication == task.solve(tokens)
        assert tokens == [*tokens[:4], 3, *(tokens[:4] * duplication)[:-1]]
