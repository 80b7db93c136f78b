from __future__ import annotations

from itertools import product
from math import gcd
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, delay
from attnlab.tasks.delay import Delay
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from tests.tasks.chance import ALPHA, counts, p_value, uniform_score

LADDERS = ("delay", "delay-lag", "delay-xor", "delay-copy", "delay-product")


def continue_default(start: list[int], modulus: int, length: int) -> list[int]:
    """The recursion of the default options, one symbol at a time."""
    symbols = list(start)
    while len(symbols) < length:
        symbols.append((symbols[-1] + symbols[-len(start)]) % modulus)
    return symbols


def cycles(task: Delay) -> list[int]:
    """Lengths of all cycles of the states, found by following every state."""
    states = list(product(task.start_symbols.tolist(), repeat=task.span))
    last = task.continue_from(np.array(states))[:, task.span].tolist()
    successor = {state: (*state[1:], symbol) for state, symbol in zip(states, last, strict=True)}
    unvisited, lengths = set(states), []
    while unvisited:
        state = start = next(iter(unvisited))
        length = 0
        while length == 0 or state != start:
            unvisited.remove(state)
            state, length = successor[state], length + 1
        lengths.append(length)
    return lengths


@pytest.mark.parametrize(("modulus", "lag", "length"), [(5, 3, 32), (2, 2, 9), (10, 7, 40), (16, 2, 300), (3, 4, 4)])
def test_sequences_follow_the_recursion(modulus: int, lag: int, length: int) -> None:
    task = Delay(modulus=modulus, lag=lag, length=length)
    assert (task.vocabulary, task.length) == (modulus, length)
    batch = task.sample(np.random.default_rng(0), 20)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        symbols = continue_default(tokens[:lag], modulus, length + 1)
        assert tokens == symbols[:-1]
        assert targets == [IGNORE] * (lag - 1) + symbols[lag:]


@pytest.mark.parametrize(
    "options",
    [
        {"modulus": 7, "lag": 9},
        {"modulus": 6, "lags": (2, 3, 7), "coefficients": (5, 4, 1)},
        {"modulus": 2, "kind": "xor", "lags": (1, 2, 5)},
        {"modulus": 8, "kind": "copy", "lag": 6},
    ],
)
def test_long_recursions_are_taken_step_by_step(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    unrolled = Delay(**options)
    assert unrolled.unrolled is not None
    monkeypatch.setattr(delay, "UNROLLED", 0)
    stepped = Delay(**options)
    assert stepped.unrolled is None
    first, second = (task.sample(np.random.default_rng(5), 50) for task in (unrolled, stepped))
    np.testing.assert_array_equal(first.inputs_BT, second.inputs_BT)
    np.testing.assert_array_equal(first.targets_BT, second.targets_BT)


def test_the_example_of_the_module() -> None:
    assert continue_default([3, 1, 4], 5, 7) == [3, 1, 4, 2, 3, 2, 4]
    assert Delay().solve([3, 1, 4, 2, 3, 2]) == [IGNORE, IGNORE, 2, 3, 2, 4]


@pytest.mark.parametrize(
    ("options", "following"),
    [
        ({"modulus": 7, "lags": (1, 3), "coefficients": (2, 5)}, lambda x: (2 * x[-1] + 5 * x[-3]) % 7),
        ({"modulus": 4, "lags": (2, 3, 5), "coefficients": (-1, 2, 3)}, lambda x: (3 * x[-5] + 2 * x[-3] - x[-2]) % 4),
        ({"modulus": 7, "kind": "product", "lag": 4}, lambda x: x[-1] * x[-4] % 7),
        ({"modulus": 12, "kind": "product", "lags": (1, 2, 3)}, lambda x: x[-1] * x[-2] * x[-3] % 12),
        ({"modulus": 6, "kind": "copy", "lag": 5}, lambda x: x[-5]),
        ({"modulus": 2, "kind": "xor", "lags": (1, 2, 4)}, lambda x: x[-1] ^ x[-2] ^ x[-4]),
        ({"modulus": 2, "kind": "and", "lags": (2, 3)}, lambda x: x[-2] & x[-3]),
        ({"modulus": 2, "kind": "or", "lag": 4}, lambda x: x[-1] | x[-4]),
        ({"modulus": 2, "kind": "majority", "lags": (1, 3, 4)}, lambda x: sorted([x[-1], x[-3], x[-4]])[1]),
    ],
)
def test_every_kind_combines_the_symbols_at_its_lags(options: dict[str, Any], following: Any) -> None:
    task = Delay(**options, length=24)
    batch = task.sample(np.random.default_rng(0), 100)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        symbols = tokens[: task.span]
        while len(symbols) < 25:
            symbols.append(following(symbols))
        assert tokens == symbols[:-1]
        assert targets == [IGNORE] * (task.span - 1) + symbols[task.span :]
        assert task.solve(tokens) == targets


@pytest.mark.parametrize(
    ("modulus", "lag", "count", "longest"),
    [
        (2, 3, 2, 7),
        (2, 5, 4, 21),
        (2, 6, 2, 63),
        (3, 3, 5, 8),
        (3, 4, 2, 80),
        (4, 5, 32, 42),
        (5, 3, 5, 31),
        (8, 3, 22, 28),
        (16, 2, 16, 24),
    ],
)
def test_cycles_match_the_table(modulus: int, lag: int, count: int, longest: int) -> None:
    result = cycles(Delay(modulus=modulus, lag=lag))
    assert (sum(result), len(result), max(result)) == (modulus**lag, count, longest)


@pytest.mark.parametrize(
    ("modulus", "lag", "count", "longest"),
    [(3, 5, 4, 21), (5, 3, 6, 14), (5, 4, 10, 30), (17, 2, 16, 24)],
)
def test_products_modulo_a_prime_have_the_cycles_of_sums_modulo_one_less(
    modulus: int, lag: int, count: int, longest: int
) -> None:
    """The same table: the powers of a primitive root multiply as their exponents add."""
    result = cycles(Delay(modulus=modulus, lag=lag, kind="product"))
    assert (sum(result), len(result), max(result)) == ((modulus - 1) ** lag, count, longest)


def test_exclusive_or_is_the_sum_of_bits() -> None:
    xor, added = Delay(modulus=2, lag=6, kind="xor"), Delay(modulus=2, lag=6)
    batches = [task.sample(np.random.default_rng(0), 50) for task in (xor, added)]
    np.testing.assert_array_equal(batches[0][:2], batches[1][:2])
    assert sorted(cycles(xor)) == [1, 63]


def test_a_copy_repeats_itself_after_its_lag() -> None:
    inputs = Delay(modulus=9, lag=5, kind="copy", length=20).sample(np.random.default_rng(0), 30).inputs_BT
    np.testing.assert_array_equal(inputs[:, 5:], inputs[:, :-5])


@pytest.mark.parametrize("options", [{"modulus": 6, "lags": (1, 2, 3), "coefficients": (4, 3, 5)}, {"lag": 2}])
def test_with_an_invertible_last_coefficient_every_state_recurs(options: dict[str, Any]) -> None:
    task = Delay(**options)
    assert sum(cycles(task)) == task.modulus**task.span


def test_initial_states_are_uniform() -> None:
    starts = Delay(modulus=3, lag=2).sample(np.random.default_rng(0), 9000).inputs_BT[:, :2]
    assert p_value(counts(starts @ [3, 1], 9)) > ALPHA


@pytest.mark.parametrize(
    "options",
    [{}, {"modulus": 12, "kind": "product"}, {"modulus": 6, "coefficients": (2, 5)}, {"modulus": 7, "kind": "copy"}],
)
def test_targets_are_uniform_at_every_position_and_a_uniform_guess_scores_chance(options: dict[str, Any]) -> None:
    task, random = Delay(**options, length=12), np.random.default_rng(7)
    batch = task.sample(random, 6000)
    units = [symbol for symbol in range(task.modulus) if task.kind != "product" or gcd(symbol, task.modulus) == 1]
    for column in batch.targets_BT[:, task.span - 1 :].T:
        observed = counts(column, task.modulus)
        assert observed[units].sum() == len(column)
        assert p_value(observed[units]) > ALPHA
    assert p_value(observed[units], np.arange(9, 9 + len(units)) / np.arange(9, 9 + len(units)).sum()) < ALPHA
    score = uniform_score(task, batch, random.choice(units, batch.inputs_BT.shape))
    assert p_value([score.correct, score.total - score.correct], [score.chance, 1 - score.chance]) > ALPHA


@pytest.mark.parametrize(
    ("kind", "lags"), [("and", (1, 3)), ("or", (2, 5)), ("majority", (1, 2, 4)), ("majority", (2, 3, 7))]
)
def test_chance_of_bits_is_that_of_the_more_frequent_one_over_all_initial_states(
    kind: str, lags: tuple[int, ...]
) -> None:
    task = Delay(modulus=2, kind=kind, lags=lags, length=20)  # type: ignore[arg-type]  # one of the kinds
    ones = np.zeros(21 - lags[-1])
    for start in product((0, 1), repeat=lags[-1]):
        symbols = list(start)
        while len(symbols) < 21:
            earlier = [symbols[-lag] for lag in lags]
            majority = int(sum(earlier) * 2 > len(earlier))
            symbols.append({"and": min(earlier), "or": max(earlier), "majority": majority}[kind])
        ones += np.array(symbols[lags[-1] :]) / 2 ** lags[-1]
    batch = task.sample(np.random.default_rng(8), 4000)
    more_frequent = np.concatenate([np.zeros(lags[-1] - 1), ones > 1 / 2]).astype(int)
    score = uniform_score(task, batch, more_frequent)
    expected = np.maximum(ones, 1 - ones).mean()
    assert score.correct / score.total == pytest.approx(expected, abs=0.02)
    assert task.chance >= expected - 1e-9


def test_the_number_of_supervised_positions_sets_the_length() -> None:
    task = Delay(lag=7, answers=24)
    batch = task.sample(np.random.default_rng(0), 3)
    assert task.length == batch.inputs_BT.shape[1] == 30
    assert ((batch.targets_BT != IGNORE).sum(axis=1) == 24).all()


def test_defaults_draw_the_same_sequences_as_before() -> None:
    """Results that are already recorded stay comparable."""
    batch = Delay().sample(np.random.default_rng(11), 64)
    start = np.random.default_rng(11).integers(0, 5, (64, 3))
    assert batch.inputs_BT.tolist() == [continue_default(row, 5, 32) for row in start.tolist()]


@pytest.mark.parametrize(("name", "level"), [(name, level) for name in LADDERS for level in find_ladder(name).levels])
def test_the_solver_solves_every_level(name: str, level: int) -> None:
    task = build(task_spec(find_ladder(name), {}, level))
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 9, "length": 8}, "With a lag of 9, no position of 8 tokens is supervised.\n  Use a lag of at most 8."),
        (
            {"lags": (1, 9), "length": 8},
            "With a lag of 9, no position of 8 tokens is supervised.\n  Use a lag of at most 8.",
        ),
        ({"lags": (3, 1, 1)}, "The lags [3, 1, 1] are not in ascending order.\n  Write [1, 3]."),
        ({"kind": "xor"}, "'xor' combines bits, not symbols modulo 5.\n  Use a modulus of 2."),
        ({"kind": "and", "modulus": 3}, "'and' combines bits, not symbols modulo 3.\n  Use a modulus of 2."),
        ({"kind": "product", "modulus": 2}, "Products modulo 2 are all equal.\n  Use a modulus of at least 3."),
        ({"kind": "copy", "lags": (2, 3)}, "A copy has one lag, not 2.\n  Write [2]."),
        (
            {"kind": "majority", "modulus": 2},
            "A majority of 2 symbols can be tied.\n  Give an odd number of lags, such as [1, 2, 3].",
        ),
        ({"kind": "or", "modulus": 2, "lag": 17}, "The lag 17 of 'or' is more than 16.\n  Use at most 16."),
        (
            {"kind": "product", "coefficients": (1, 2)},
            "'product' takes no coefficients.\n  Leave them out, or use the kind 'sum'.",
        ),
        ({"coefficients": (1, 2, 3)}, "3 coefficients are given for 2 lags.\n  Give one coefficient for each lag."),
        (
            {"modulus": 6, "coefficients": (1, 4)},
            "The last coefficient, 4, and the modulus 6 have a common divisor.\n"
            "  Use 1 or another coefficient without one, so that each initial state has its own sequence.",
        ),
    ],
)
def test_options_that_cannot_be_combined_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Delay(**options)
    assert str(caught.value) == f"delay\n  {message}"
