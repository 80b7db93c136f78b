from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
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
        (Majority(bits=5, ties="largest"), "10011", "11011"),
        (Majority(bits=4, ties="largest", asked="last"), "1001", "...1"),
        (Majority(bits=6, alphabet=4), "311320", "311111"),
        (Majority(bits=6, alphabet=4, ties="largest"), "311320", "331333"),
        (Majority(bits=6, alphabet=4, asked="last"), "311320", ".....1"),
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
    *[Majority(bits=bits, ties="largest") for bits in (1, 8, 64)],
    Majority(bits=20, alphabet=5),
    Majority(bits=9, alphabet=7, ties="largest", asked="last"),
    *[Majority(bits=bits, alphabet=5, ties="broken", asked="last") for bits in (1, 8, 30)],
    Majority(bits=8, ties="broken", asked="last"),
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


@pytest.mark.parametrize("bits", [1, 4, 9])
def test_a_tie_is_zero_or_one_as_asked_and_nothing_else_differs(bits: int) -> None:
    """Zoology's majority has 0 there, its cumulative majority 1; the strings are the same."""
    zero, one = draw(Majority(bits=bits)), draw(Majority(bits=bits, ties="largest"))
    np.testing.assert_array_equal(zero.inputs_BT, one.inputs_BT)
    tied = 2 * np.cumsum(zero.inputs_BT, axis=1) == np.arange(1, bits + 1)
    np.testing.assert_array_equal(one.targets_BT - zero.targets_BT, tied)


def break_ties(letters: list[int]) -> list[int]:
    """One letter after the other, from the definition."""
    tied = sorted(letter for letter in set(letters) if letters.count(letter) == max(map(letters.count, letters)))
    if len(tied) == 1:
        return letters
    first = next(position for position, letter in enumerate(letters) if letter != tied[0])
    return [*letters[:first], tied[0], *letters[first + 1 :]]


@pytest.mark.parametrize(("bits", "alphabet"), [(2, 2), (8, 2), (8, 5), (5, 9)])
def test_ties_are_broken_by_one_letter(bits: int, alphabet: int) -> None:
    options: dict[str, Any] = {"bits": bits, "alphabet": alphabet, "asked": "last"}
    tied, broken = draw(Majority(**options)), draw(Majority(**options, ties="broken"))
    assert broken.inputs_BT.tolist() == [break_ties(letters) for letters in tied.inputs_BT.tolist()]
    np.testing.assert_array_equal(broken.targets_BT, tied.targets_BT)
    for letters in broken.inputs_BT.tolist():
        numbers = sorted(map(letters.count, set(letters)))
        assert len(numbers) == 1 or numbers[-1] > numbers[-2]


def test_ties_of_every_prefix_cannot_be_broken() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Majority(ties="broken")
    assert caught.value.hint == "Use asked=last, or ties=smallest or largest."
