from __future__ import annotations

import re

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.equation import SolveEquation
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def draw(task: SolveEquation, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def texts(task: SolveEquation, batch: Batch) -> list[str]:
    return ["".join(map(task.token_to_str, tokens)) for tokens in batch.inputs_BT.tolist()]


def test_the_example_of_the_module() -> None:
    task = SolveEquation(symbols=9)
    assert task.solve(["01234+-()x=".index(sign) for sign in "(x-(4))=2"]) == [IGNORE] * 8 + [1]


@pytest.mark.parametrize("symbols", [3, 4, 5, 6, 7, 8, 10, 20, 40, 50, 100, 200])
def test_the_target_and_no_other_digit_solves_the_equation(symbols: int) -> None:
    task = SolveEquation(symbols=symbols)
    batch = draw(task)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (11, symbols, symbols)
    rows = zip(texts(task, batch), batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    for text, tokens, targets in rows:
        left, right = text.split("=")
        solutions = [digit for digit in range(5) if eval(left.replace("x", str(digit))) % 5 == int(right)]
        assert targets == [IGNORE] * (symbols - 1) + solutions
        assert task.solve(tokens) == targets


def test_equations_have_no_products() -> None:
    task = SolveEquation(symbols=11)
    batch = draw(task, 4000)
    assert all(re.fullmatch(r"[0-4x()+-]{9}=[0-4]", text) and text.count("x") == 1 for text in texts(task, batch))


@pytest.mark.parametrize(
    ("symbols", "first", "shares"),
    [(7, r"\(x", [3 / 5, 2 / 5]), (8, r"\(-?x", [7 / 12, 5 / 12])],
)
def test_a_digit_is_hidden_in_proportion_to_the_positions_before_it(
    symbols: int, first: str, shares: list[float]
) -> None:
    """Of the five positions of (d+d), three lead to the first digit, the last of them cyclically."""
    task = SolveEquation(symbols=symbols)
    hits = np.array([re.match(first, text) is None for text in texts(task, draw(task, 12_000))])
    assert p_value(counts(hits, 2), shares) > ALPHA
    assert p_value(counts(hits, 2)) < ALPHA


@pytest.mark.parametrize("symbols", [3, 7, 20])
def test_targets_and_right_sides_are_uniform(symbols: int) -> None:
    batch = draw(SolveEquation(symbols=symbols), 8000)
    assert p_value(counts(batch.targets_BT[:, -1], 5)) > ALPHA
    assert p_value(counts(batch.inputs_BT[:, -1], 5)) > ALPHA


@pytest.mark.parametrize("symbols", [5, 20])
def test_chance_is_that_of_a_uniform_guess(symbols: int) -> None:
    task = SolveEquation(symbols=symbols)
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, 5, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 11, batch.targets_BT.shape)))


def test_token_strings() -> None:
    task = SolveEquation()
    assert [task.token_to_str(token) for token in range(11)] == list("01234+-()x=")


@pytest.mark.parametrize("modulus", [2, 6, 12])
@pytest.mark.parametrize("operators", ["+-", "+", "-"])
def test_another_modulus_and_fewer_operators(modulus: int, operators: str) -> None:
    task = SolveEquation(symbols=15, modulus=modulus, operators=operators)
    batch = draw(task)
    rows = zip(texts(task, batch), batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    for text, tokens, targets in rows:
        left, right = text.split("=")
        solutions = [digit for digit in range(modulus) if eval(left.replace("x", str(digit))) % modulus == int(right)]
        assert targets == [IGNORE] * 14 + solutions
        assert task.solve(tokens) == targets
    between = set(re.findall(r"(?<=[\dx)])[-+]", "".join(text.split("=")[0] for text in texts(task, batch))))
    assert between == set(operators)
    assert [task.token_to_str(token) for token in range(task.vocabulary)] == [*map(str, range(modulus)), *"+-()x="]
