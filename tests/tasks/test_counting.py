from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.counting import Majority, ModularCounting
from tests.tasks.chance import DOUBT, belief, counts, guessed, met


def drawn(task: Task, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def read(task: Task, word: str) -> list[int]:
    words = {task.token_to_str(token): token for token in range(task.vocabulary)}
    return [IGNORE if sign == "." else words[sign] for sign in word]


@pytest.mark.parametrize(
    ("task", "word", "due"),
    [
        (Majority(bits=5), "10011", "10001"),
        (Majority(bits=5, asked="last"), "10011", "....1"),
        (ModularCounting(symbols=4), "abaa", "1120"),
        (ModularCounting(symbols=4, asked="last"), "abaa", "...0"),
    ],
)
def test_the_examples_of_the_module(task: Task, word: str, due: str) -> None:
    assert task.solve(read(task, word)) == read(task, due)


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
    batch = drawn(task)
    assert batch.inputs_BT.shape == (200, task.length)
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == due


def test_a_short_string_has_every_form_evenly() -> None:
    bits = drawn(Majority(bits=4), 8000).inputs_BT @ np.array([8, 4, 2, 1])
    assert belief(counts(bits, 16)) > DOUBT
    assert belief(counts(bits | 1, 16)[1::2], np.arange(1, 9) / 36) < DOUBT
    letters = drawn(ModularCounting(symbols=2, alphabet=3), 8000).inputs_BT @ [3, 1]
    assert belief(counts(letters, 9)) > DOUBT


@pytest.mark.parametrize(("bits", "ones"), [(7, 64), (8, 93)])
def test_the_last_majority_is_as_likely_as_among_all_strings(bits: int, ones: int) -> None:
    """Ties are no majority: there are 70 among 256 strings of eight bits."""
    assert ones == sum(comb(bits, more) for more in range(bits // 2 + 1, bits + 1))
    answers = drawn(Majority(bits=bits, asked="last"), 8000).targets_BT[:, -1]
    share = ones / 2**bits
    assert belief(counts(answers, 2), [1 - share, share]) > DOUBT


def test_counts_are_as_likely_as_among_all_strings() -> None:
    task = ModularCounting(symbols=6, modulus=4, alphabet=3, asked="last")
    answers = drawn(task, 8000).targets_BT[:, -1] - task.alphabet
    every = counts([word.count(0) % 4 for word in product(range(3), repeat=6)], 4)
    assert belief(counts(answers, 4), every / every.sum()) > DOUBT
    assert belief(counts(answers, 4)) < DOUBT


@pytest.mark.parametrize(
    ("task", "answers"),
    [
        (Majority(bits=9, asked="last"), [0, 1]),
        (Majority(bits=16), [0, 1]),
        (ModularCounting(symbols=20, modulus=5), [2, 3, 4, 5, 6]),
        (ModularCounting(symbols=2, modulus=5, asked="last"), [2, 3, 4]),
    ],
)
def test_chance_is_that_of_a_uniform_guess(task: Task, answers: list[int]) -> None:
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    assert task.chance == 1 / len(answers)
    assert set(batch.targets_BT.ravel().tolist()) - {IGNORE} == set(answers)
    assert met(guessed(task, batch, random.choice(answers, batch.targets_BT.shape)))
    assert not met(guessed(task, batch, random.choice([*answers, 99], batch.targets_BT.shape)))


def test_the_second_running_majority_is_mostly_zero_as_the_module_says() -> None:
    second = drawn(Majority(bits=2), 4000).targets_BT[:, 1]
    assert belief(counts(second, 2), [0.75, 0.25]) > DOUBT


def test_sizes_and_symbols() -> None:
    counting: Any = ModularCounting(symbols=9, modulus=3, alphabet=2)
    assert (counting.vocabulary, counting.length) == (5, 9)
    assert [counting.symbol(token) for token in range(5)] == ["a", "b", "0", "1", "2"]
    assert (Majority(bits=9).vocabulary, Majority(bits=9).length) == (2, 9)
