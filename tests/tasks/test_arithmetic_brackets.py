from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.arithmetic_brackets import ModularArithmeticBrackets, evaluate_expression, sample_expressions
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def draw(task: ModularArithmeticBrackets, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def texts(task: ModularArithmeticBrackets, batch: Batch) -> list[str]:
    return ["".join(map(task.token_to_str, tokens)) for tokens in batch.inputs_BT.tolist()]


@cache
def shapes(symbols: int, operators: str) -> dict[str, float]:
    """Probability of every expression with its digits replaced by d, from the definition."""
    if symbols < 5:
        return {["d", "-d", "(d)", "(-d)"][symbols - 1]: 1.0}
    result: dict[str, float] = defaultdict(float)
    for left in range(1, symbols - 3):
        for one, first in shapes(left, operators).items():
            for other, second in shapes(symbols - 3 - left, operators).items():
                for operator in operators:
                    result[f"({one}{operator}{other})"] += first * second / (symbols - 4) / len(operators)
    return dict(result)


@cache
def values(symbols: int) -> tuple[float, ...]:
    """Probability of each value, from the definition."""
    if symbols < 5:
        return (0.2,) * 5
    probabilities = [0.0] * 5
    for left in range(1, symbols - 3):
        for one, first in enumerate(values(left)):
            for other, second in enumerate(values(symbols - 3 - left)):
                for result in (one + other, one - other, one * other):
                    probabilities[result % 5] += first * second / (symbols - 4) / 3
    return tuple(probabilities)


def test_the_example_of_the_module() -> None:
    task = ModularArithmeticBrackets(symbols=8)
    assert task.solve(["01234+-()*".index(sign) for sign in "(3*(-4))"]) == [IGNORE] * 7 + [3]


@pytest.mark.parametrize("symbols", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 40, 50, 100, 200])
def test_values_match_the_solver_and_python(symbols: int) -> None:
    task = ModularArithmeticBrackets(symbols=symbols)
    batch = draw(task)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (10, symbols, symbols)
    rows = zip(texts(task, batch), batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    for text, tokens, targets in rows:
        assert task.solve(tokens) == targets
        assert targets == [IGNORE] * (symbols - 1) + [eval(text) % 5]


@pytest.mark.parametrize("symbols", [5, 6, 9, 11, 13])
def test_shapes_are_distributed_as_defined(symbols: int) -> None:
    task = ModularArithmeticBrackets(symbols=symbols)
    observed = Counter(re.sub(r"\d", "d", text) for text in texts(task, draw(task, 30_000)))
    probabilities = shapes(symbols, "+-*")
    assert sum(probabilities.values()) == pytest.approx(1)
    assert set(observed) <= set(probabilities)
    assert p_value([observed[shape] for shape in probabilities], list(probabilities.values())) > ALPHA


def test_shapes_are_not_uniform() -> None:
    task = ModularArithmeticBrackets(symbols=11)
    observed = Counter(re.sub(r"\d", "d", text) for text in texts(task, draw(task, 30_000)))
    assert p_value([observed[shape] for shape in shapes(11, "+-*")]) < ALPHA


def test_digits_are_jointly_uniform() -> None:
    tokens = draw(ModularArithmeticBrackets(symbols=5), 20_000).inputs_BT
    assert p_value(counts(tokens[:, 1] * 5 + tokens[:, 3], 25)) > ALPHA
    for symbols in (1, 2, 3, 4, 20):
        tokens = draw(ModularArithmeticBrackets(symbols=symbols), 4000).inputs_BT
        assert p_value(counts(tokens[tokens < 5], 5)) > ALPHA


@pytest.mark.parametrize("symbols", [3, 5, 10, 20, 40])
def test_values_are_distributed_as_defined(symbols: int) -> None:
    targets = draw(ModularArithmeticBrackets(symbols=symbols), 20_000).targets_BT[:, -1]
    assert p_value(counts(targets, 5), values(symbols)) > ALPHA
    assert (p_value(counts(targets, 5)) < ALPHA) == (symbols >= 5)


def test_zero_is_as_frequent_as_documented() -> None:
    assert values(5)[0] == pytest.approx(0.25, abs=0.005)
    assert values(40)[0] == pytest.approx(0.29, abs=0.005)


def test_without_products_there_are_two_operators() -> None:
    tokens, result = sample_expressions(np.random.default_rng(0), 4000, 9, np.array([0, 1]), 5)
    observed = Counter(re.sub(r"\d", "d", "".join("01234+-()*"[token] for token in row)) for row in tokens.tolist())
    probabilities = shapes(9, "+-")
    assert set(observed) <= set(probabilities)
    assert p_value([observed[shape] for shape in probabilities], list(probabilities.values())) > ALPHA
    assert p_value(counts(result, 5)) > ALPHA


@pytest.mark.parametrize("text", ["3", "-3", "(-4)", "(2--3)", "(-2*-3)", "((1-(4))*(-2+((3)-1)))"])
def test_the_solver_evaluates_like_python(text: str) -> None:
    assert evaluate_expression(text, 5) == eval(text) % 5
    assert evaluate_expression(text, 13) == eval(text) % 13


@pytest.mark.parametrize("symbols", [1, 5, 20])
def test_chance_is_that_of_a_uniform_guess(symbols: int) -> None:
    task = ModularArithmeticBrackets(symbols=symbols)
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, 5, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 10, batch.targets_BT.shape)))


def test_token_strings() -> None:
    task = ModularArithmeticBrackets()
    assert [task.token_to_str(token) for token in range(10)] == list("01234+-()*")


@pytest.mark.parametrize("modulus", [2, 7, 12])
@pytest.mark.parametrize("operators", ["+-*", "+-", "*"])
def test_another_modulus_and_fewer_operators(modulus: int, operators: str) -> None:
    task = ModularArithmeticBrackets(symbols=17, modulus=modulus, operators=operators)
    batch = draw(task, 300)
    rows = zip(texts(task, batch), batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    for text, tokens, targets in rows:
        assert task.solve(tokens) == targets
        assert targets[-1] == eval(text) % modulus
    joined = "".join(texts(task, batch))
    assert set(re.findall(r"(?<=[\d)])[-+*]", joined)) == set(operators)
    assert p_value(counts(batch.inputs_BT[batch.inputs_BT < modulus], modulus)) > ALPHA
    assert [task.token_to_str(token) for token in range(task.vocabulary)] == [*map(str, range(modulus)), *"+-()*"]


def test_without_products_no_value_is_more_frequent() -> None:
    """With mult=False, the default of the original class."""
    task = ModularArithmeticBrackets(symbols=5, operators="+-")
    assert p_value(counts(draw(task, 20_000).targets_BT[:, -1], 5)) > ALPHA
    assert task.chance == pytest.approx(1 / 5, abs=0.01)
