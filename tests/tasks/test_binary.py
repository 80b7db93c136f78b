from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.binary import BinaryAddition, BinaryMultiplication, propagate_carries, sample_positive
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value, uniform_score

Calculation = BinaryAddition | BinaryMultiplication
END = 4
both = pytest.mark.parametrize("kind", [BinaryAddition, BinaryMultiplication])
both_orders = pytest.mark.parametrize("order", ["little", "big"])


def draw(task: Calculation, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def read(task: Calculation, text: str) -> list[int]:
    tokens = {task.token_to_str(token): token for token in range(task.vocabulary)}
    return [IGNORE if sign == "." else tokens[sign] for sign in text]


@pytest.mark.parametrize(
    ("task", "inputs", "targets"),
    [
        (BinaryAddition(symbols=6), "101+11=0001$", "......0001$."),
        (BinaryMultiplication(symbols=5), "01*11=011$", ".....011$."),
        (BinaryAddition(symbols=6, order="big"), "110+10=1000", "......1000$"),
        (BinaryMultiplication(symbols=6, order="big"), "110*10=1100", "......1100$"),
    ],
)
def test_examples(task: Calculation, inputs: str, targets: str) -> None:
    assert task.solve(read(task, inputs)) == read(task, targets)


@both
@both_orders
@pytest.mark.parametrize("symbols", [3, 4, 5, 6, 10, 20, 40, 50, 100, 200])
def test_results_match_python_integers(kind: type[Calculation], order: Literal["little", "big"], symbols: int) -> None:
    task = kind(symbols=symbols, order=order)
    batch = draw(task)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (5, 2 * symbols, 2 * symbols)
    order_step = -1 if order == "little" else 1
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        question = "".join(map(task.token_to_str, tokens[:symbols]))
        first, second = (int(bits[::order_step], 2) for bits in question.split(task.sign))
        assert min(first, second) >= 1
        result = first + second if kind is BinaryAddition else first * second
        output = [*map(int, bin(result)[2:][::order_step]), END]
        rest = symbols - len(output)
        assert rest >= 0
        assert targets == [IGNORE] * symbols + output + [IGNORE] * rest
        assert tokens[symbols:] == [3, *output, *[END] * rest][:symbols]
        assert task.solve(tokens) == task.solve(tokens[: symbols + 1] + [0] * (symbols - 1)) == targets


@both
def test_both_orders_have_the_same_questions(kind: type[Calculation]) -> None:
    little, big = (draw(kind(symbols=30, order=order)) for order in ("little", "big"))
    for one, other in zip(little.targets_BT.tolist(), big.targets_BT.tolist(), strict=True):
        end = one.index(END)
        assert one[30:end] == other[30:end][::-1]


@both
def test_the_longest_numbers_carry_through(kind: type[Calculation]) -> None:
    task = kind(symbols=202)
    ones = np.ones((1, 200), dtype=np.int64)
    short = ones * (np.arange(200) == 0)
    value = sum(int(bit) << position for position, bit in enumerate(task.bits(ones, short)[0]))
    assert value == task.number(2**200 - 1, 1)


def test_carrying_keeps_the_number_and_returns_the_carry() -> None:
    columns = np.random.default_rng(0).integers(-(2**40), 2**40, (50, 7))
    for width in (1, 3, 30):
        digits, carries = propagate_carries(columns, width)
        assert ((digits >= 0) & (digits < 2**width)).all()
        for before, after, rest in zip(columns.tolist(), digits.tolist(), carries.tolist(), strict=True):
            whole = sum(column << width * index for index, column in enumerate(before))
            assert whole == sum(digit << width * index for index, digit in enumerate([*after, rest]))


@both
def test_the_position_of_the_operator_is_uniform(kind: type[Calculation]) -> None:
    positions = (draw(kind(symbols=9), 8000).inputs_BT[:, :9] == 2).argmax(axis=1)
    assert p_value(counts(positions - 1, 7)) > ALPHA
    assert p_value(counts(positions, 9)) < ALPHA


@both
@both_orders
def test_both_numbers_are_uniform_above_zero(kind: type[Calculation], order: Literal["little", "big"]) -> None:
    tokens = draw(kind(symbols=6, order=order), 20_000).inputs_BT
    tokens = tokens[tokens[:, 3] == 2]
    weights = [1, 2, 4] if order == "little" else [4, 2, 1]
    first, second = tokens[:, :3] @ weights, tokens[:, 4:6] @ [weight for weight in weights if weight < 4]
    assert p_value(counts((first - 1) * 3 + second - 1, 21)) > ALPHA
    assert p_value(counts(first * 4 + second, 32)) < ALPHA


def test_numbers_of_any_size_are_uniform_above_zero() -> None:
    numbers = sample_positive(np.random.default_rng(0), np.full((14_000, 1), 3), 5)
    assert (numbers[:, 3:] == 0).all()
    assert p_value(counts(numbers @ [1, 2, 4, 8, 16] - 1, 7)) > ALPHA


@both
@both_orders
def test_chance_is_that_of_a_uniform_guess_among_bits_and_end(
    kind: type[Calculation], order: Literal["little", "big"]
) -> None:
    task = kind(symbols=10, order=order)
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.choice([0, 1, END], batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 5, batch.targets_BT.shape)))


@both
def test_random_bits_without_an_end_score_almost_one_half_as_documented(kind: type[Calculation]) -> None:
    task = kind(symbols=40)
    batch = draw(task, 1000)
    coin = guess_score(task, batch, np.random.default_rng(1).integers(0, 2, batch.targets_BT.shape))
    assert 0.46 < coin.mean < 0.5


def test_token_strings() -> None:
    assert [BinaryAddition().token_to_str(token) for token in range(5)] == ["0", "1", "+", "=", "$"]
    assert [BinaryMultiplication().token_to_str(token) for token in range(5)] == ["0", "1", "*", "=", "$"]
