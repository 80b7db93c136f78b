from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.counting import Majority, ModularCounting
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def draw(task: Task, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def read(task: Task, text: str) -> list[int]:
    tokens = {task.token_to_str(token): token for token in range(task.vocabulary)}
    return [IGNORE if sign == "." else tokens[sign] for sign in text]


@pytest.mark.parametrize(
    ("task", "inputs", "targets"),
    [
        (Majority(bits=5), "10011", "10001"),
        (Majority(bits=5, asked="last"), "10011", "....1"),
        (ModularCounting(symbols=4), "abaa", "1120"),
        (ModularCounting(symbols=4, asked="last"), "abaa", "...0"),
    ],
)
def test_the_examples_of_the_module(task: Task, inputs: str, targets: str) -> None:
    assert task.solve(read(task, inputs)) == read(task, targets)


TASKS = [
    *[Majority(bits=bits) for bits in (1, 4, 8, 16, 32, 64)],
    Majority(bits=7, asked="last"),
    Majority(bits=8, asked="last"),
    *[ModularCounting(symbols=symbols) for symbols in (1, 2, 4, 8, 16, 32, 64)],
    ModularCounting(symbols=30, modulus=7, alphabet=5, asked="last"),
    ModularCounting(symbols=5, modulus=40, alphabet=26),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task).__name__}-{task.length}-{task.vocabulary}")
def test_labels_are_those_of_the_solver(task: Task) -> None:
    batch = draw(task)
    assert batch.inputs_BT.shape == (200, task.length)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_short_strings_are_uniform() -> None:
    bits = draw(Majority(bits=4), 8000).inputs_BT @ np.array([8, 4, 2, 1])
    assert p_value(counts(bits, 16)) > ALPHA
    assert p_value(counts(bits | 1, 16)[1::2], np.arange(1, 9) / 36) < ALPHA
    letters = draw(ModularCounting(symbols=2, alphabet=3), 8000).inputs_BT @ [3, 1]
    assert p_value(counts(letters, 9)) > ALPHA


@pytest.mark.parametrize(("bits", "ones"), [(7, 64), (8, 93)])
def test_the_last_majority_is_distributed_as_among_all_strings(bits: int, ones: int) -> None:
    """A tie is not a majority: 70 of the 256 strings of eight bits are tied."""
    assert ones == sum(comb(bits, more) for more in range(bits // 2 + 1, bits + 1))
    targets = draw(Majority(bits=bits, asked="last"), 8000).targets_BT[:, -1]
    share = ones / 2**bits
    assert p_value(counts(targets, 2), [1 - share, share]) > ALPHA


def test_counts_are_distributed_as_among_all_strings() -> None:
    task = ModularCounting(symbols=6, modulus=4, alphabet=3, asked="last")
    targets = draw(task, 8000).targets_BT[:, -1] - task.alphabet
    expected = counts([word.count(0) % 4 for word in product(range(3), repeat=6)], 4)
    assert p_value(counts(targets, 4), expected / expected.sum()) > ALPHA
    assert p_value(counts(targets, 4)) < ALPHA


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (Majority(bits=9, asked="last"), [0, 1]),
        (Majority(bits=16), [0, 1]),
        (ModularCounting(symbols=20, modulus=5), [2, 3, 4, 5, 6]),
        (ModularCounting(symbols=2, modulus=5, asked="last"), [2, 3, 4]),
    ],
)
def test_chance_is_that_of_a_uniform_guess(task: Task, targets: list[int]) -> None:
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert set(batch.targets_BT.ravel().tolist()) - {IGNORE} == set(targets)
    assert at_chance(uniform_score(task, batch, random.choice(targets, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.choice([*targets, 99], batch.targets_BT.shape)))


def test_the_second_running_majority_is_mostly_zero_as_documented() -> None:
    second = draw(Majority(bits=2), 4000).targets_BT[:, 1]
    assert p_value(counts(second, 2), [0.75, 0.25]) > ALPHA


def test_sizes_and_token_strings() -> None:
    counting: Any = ModularCounting(symbols=9, modulus=3, alphabet=2)
    assert (counting.vocabulary, counting.length) == (5, 9)
    assert [counting.token_to_str(token) for token in range(5)] == ["a", "b", "0", "1", "2"]
    assert (Majority(bits=9).vocabulary, Majority(bits=9).length) == (2, 9)
