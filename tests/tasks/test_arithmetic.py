from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, TASKS, Batch
from attnlab.tasks.arithmetic import ModularArithmetic
from attnlab.tasks.arithmetic_brackets import ModularArithmeticBrackets
from attnlab.tasks.equation import SolveEquation
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def draw(task: ModularArithmetic, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def expression(task: ModularArithmetic, tokens: list[int]) -> str:
    return "".join(map(task.token_to_str, tokens))


def test_the_example_of_the_module() -> None:
    task = ModularArithmetic(numbers=4)
    assert task.solve(["01234+-*".index(sign) for sign in "2+3*4-1"]) == [IGNORE] * 6 + [3]


@pytest.mark.parametrize("numbers", [1, 2, 3, 5, 10, 20, 25, 50, 100])
def test_values_match_the_solver_and_python(numbers: int) -> None:
    task = ModularArithmetic(numbers=numbers)
    batch = draw(task)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (8, 2 * numbers - 1, 2 * numbers - 1)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets
        assert targets == [IGNORE] * (len(tokens) - 1) + [eval(expression(task, tokens)) % 5]


def test_digits_and_operators_are_uniform() -> None:
    tokens = draw(ModularArithmetic(numbers=2), 20_000).inputs_BT
    assert p_value(counts(tokens @ [15, 1, 3] - 5, 75)) > ALPHA
    assert p_value(counts(tokens[:, 0] + tokens[:, 2], 9)) < ALPHA


@pytest.mark.parametrize("numbers", [1, 2, 3])
def test_values_are_distributed_as_among_all_expressions(numbers: int) -> None:
    values_of_all = []
    for digits in product("01234", repeat=numbers):
        for operators in product("+-*", repeat=numbers - 1):
            text = "".join(digit + operator for digit, operator in zip(digits, (*operators, ""), strict=True))
            values_of_all.append(eval(text) % 5)
    shares = counts(values_of_all, 5) / len(values_of_all)
    values = draw(ModularArithmetic(numbers=numbers), 20_000).targets_BT[:, -1]
    assert p_value(counts(values, 5), shares) > ALPHA
    assert (p_value(counts(values, 5)) < ALPHA) == (numbers > 1)


@pytest.mark.parametrize("numbers", [2, 10])
def test_chance_is_that_of_a_uniform_guess(numbers: int) -> None:
    task = ModularArithmetic(numbers=numbers)
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, 5, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 8, batch.targets_BT.shape)))


@pytest.mark.parametrize(("numbers", "share"), [(2, 0.25), (5, 0.21)])
def test_zero_is_as_frequent_as_documented(numbers: int, share: float) -> None:
    values = draw(ModularArithmetic(numbers=numbers), 40_000).targets_BT[:, -1]
    assert (values == 0).mean() == pytest.approx(share, abs=0.01)


def test_token_strings() -> None:
    task = ModularArithmetic()
    assert [task.token_to_str(token) for token in range(8)] == list("01234+-*")


@pytest.mark.parametrize("modulus", [2, 7, 12, 97])
@pytest.mark.parametrize("operators", ["+-*", "+-", "*", "-+", "*-"])
def test_another_modulus_and_fewer_operators(modulus: int, operators: str) -> None:
    task = ModularArithmetic(numbers=6, modulus=modulus, operators=operators)
    batch = draw(task, 300)
    assert [task.token_to_str(token) for token in range(task.vocabulary)] == [*map(str, range(modulus)), *"+-*"]
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets
        assert targets[-1] == eval(expression(task, tokens)) % modulus
    assert p_value(counts(batch.inputs_BT[:, ::2], modulus)) > ALPHA
    used = {task.token_to_str(token) for token in batch.inputs_BT[:, 1::2].ravel().tolist()}
    assert used == set(operators)
    same = ModularArithmetic(numbers=6, modulus=modulus, operators="".join(reversed(operators)))
    np.testing.assert_array_equal(draw(same, 300).inputs_BT, batch.inputs_BT)


@pytest.mark.parametrize("cls", [ModularArithmetic, ModularArithmeticBrackets, SolveEquation])
def test_an_operator_that_is_named_twice_is_refused(
    cls: type[ModularArithmetic] | type[ModularArithmeticBrackets] | type[SolveEquation],
) -> None:
    with pytest.raises(InvalidValueError, match="The operators '--' name one twice") as caught:
        cls(operators="--")
    assert caught.value.hint == "Name each operator once, as in +-; all are equally frequent."


@pytest.mark.parametrize(
    ("name", "operators"), [("modular-arithmetic", "+/"), ("modular-arithmetic", ""), ("solve-equation", "+*")]
)
def test_other_operators_are_refused(name: str, operators: str) -> None:
    with pytest.raises(InvalidValueError, match="operators"):
        TASKS.entry(name).complete({"operators": operators})
