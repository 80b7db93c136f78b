from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.arithmetic import ModularArithmetic
from tests.tasks.chance import DOUBT, belief, counts, guessed, met


def drawn(task: ModularArithmetic, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def written(task: ModularArithmetic, tokens: list[int]) -> str:
    return "".join(map(task.token_to_str, tokens))


def test_the_example_of_the_module() -> None:
    task = ModularArithmetic(numbers=4)
    assert task.solve(["01234+-*".index(sign) for sign in "2+3*4-1"]) == [IGNORE] * 6 + [3]


@pytest.mark.parametrize("numbers", [1, 2, 3, 5, 10, 20, 25, 50, 100])
def test_values_are_those_of_the_solver_and_of_python(numbers: int) -> None:
    task = ModularArithmetic(numbers=numbers)
    batch = drawn(task)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (8, 2 * numbers - 1, 2 * numbers - 1)
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == due
        assert due == [IGNORE] * (len(tokens) - 1) + [eval(written(task, tokens)) % 5]


def test_digits_and_operators_are_uniform() -> None:
    tokens = drawn(ModularArithmetic(numbers=2), 20_000).inputs_BT
    assert belief(counts(tokens @ [15, 1, 3] - 5, 75)) > DOUBT
    assert belief(counts(tokens[:, 0] + tokens[:, 2], 9)) < DOUBT


@pytest.mark.parametrize("numbers", [1, 2, 3])
def test_values_are_as_likely_as_among_all_expressions(numbers: int) -> None:
    every = []
    for digits in product("01234", repeat=numbers):
        for operators in product("+-*", repeat=numbers - 1):
            text = "".join(digit + operator for digit, operator in zip(digits, (*operators, ""), strict=True))
            every.append(eval(text) % 5)
    shares = counts(every, 5) / len(every)
    values = drawn(ModularArithmetic(numbers=numbers), 20_000).targets_BT[:, -1]
    assert belief(counts(values, 5), shares) > DOUBT
    assert (belief(counts(values, 5)) < DOUBT) == (numbers > 1)


@pytest.mark.parametrize("numbers", [2, 10])
def test_chance_is_that_of_a_uniform_guess(numbers: int) -> None:
    task = ModularArithmetic(numbers=numbers)
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    assert task.chance == 1 / 5
    assert met(guessed(task, batch, random.integers(0, 5, batch.targets_BT.shape)))
    assert not met(guessed(task, batch, random.integers(0, 8, batch.targets_BT.shape)))


@pytest.mark.parametrize(("numbers", "share"), [(2, 0.25), (5, 0.21)])
def test_zero_is_as_likely_as_the_module_says(numbers: int, share: float) -> None:
    values = drawn(ModularArithmetic(numbers=numbers), 40_000).targets_BT[:, -1]
    assert (values == 0).mean() == pytest.approx(share, abs=0.01)


def test_symbols() -> None:
    task = ModularArithmetic()
    assert [task.token_to_str(token) for token in range(8)] == list("01234+-*")
