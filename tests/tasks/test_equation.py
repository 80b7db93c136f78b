from __future__ import annotations

import re

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.equation import SolveEquation
from tests.tasks.chance import DOUBT, belief, counts, guessed, met


def drawn(task: SolveEquation, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def texts(task: SolveEquation, batch: Batch) -> list[str]:
    return ["".join(map(task.token_to_str, tokens)) for tokens in batch.inputs_BT.tolist()]


def test_the_example_of_the_module() -> None:
    task = SolveEquation(symbols=9)
    assert task.solve(["01234+-()x=".index(sign) for sign in "(x-(4))=2"]) == [IGNORE] * 8 + [1]


@pytest.mark.parametrize("symbols", [3, 4, 5, 6, 7, 8, 10, 20, 40, 50, 100, 200])
def test_the_answer_and_no_other_solves_the_equation(symbols: int) -> None:
    task = SolveEquation(symbols=symbols)
    batch = drawn(task)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (11, symbols, symbols)
    rows = zip(texts(task, batch), batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    for text, tokens, due in rows:
        left, right = text.split("=")
        solutions = [digit for digit in range(5) if eval(left.replace("x", str(digit))) % 5 == int(right)]
        assert due == [IGNORE] * (symbols - 1) + solutions
        assert task.solve(tokens) == due


def test_no_products_stand_in_an_equation() -> None:
    task = SolveEquation(symbols=11)
    batch = drawn(task, 4000)
    assert all(re.fullmatch(r"[0-4x()+-]{9}=[0-4]", text) and text.count("x") == 1 for text in texts(task, batch))


@pytest.mark.parametrize(
    ("symbols", "first", "shares"),
    [(7, r"\(x", [3 / 5, 2 / 5]), (8, r"\(-?x", [7 / 12, 5 / 12])],
)
def test_a_digit_is_hidden_as_often_as_there_are_places_up_to_it(symbols: int, first: str, shares: list[float]) -> None:
    """Of the five places of (d+d), three lead to the first digit, the last of them round the end."""
    task = SolveEquation(symbols=symbols)
    hits = np.array([re.match(first, text) is None for text in texts(task, drawn(task, 12_000))])
    assert belief(counts(hits, 2), shares) > DOUBT
    assert belief(counts(hits, 2)) < DOUBT


@pytest.mark.parametrize("symbols", [3, 7, 20])
def test_answers_and_right_sides_are_uniform(symbols: int) -> None:
    batch = drawn(SolveEquation(symbols=symbols), 8000)
    assert belief(counts(batch.targets_BT[:, -1], 5)) > DOUBT
    assert belief(counts(batch.inputs_BT[:, -1], 5)) > DOUBT


@pytest.mark.parametrize("symbols", [5, 20])
def test_chance_is_that_of_a_uniform_guess(symbols: int) -> None:
    task = SolveEquation(symbols=symbols)
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    assert task.chance == 1 / 5
    assert met(guessed(task, batch, random.integers(0, 5, batch.targets_BT.shape)))
    assert not met(guessed(task, batch, random.integers(0, 11, batch.targets_BT.shape)))


def test_symbols() -> None:
    task = SolveEquation()
    assert [task.token_to_str(token) for token in range(11)] == list("01234+-()x=")
