from __future__ import annotations

from math import isqrt

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.square_root import SquareRoot, roots
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def drawn(task: SquareRoot, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def bits_of(numbers: list[int], width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array([[int(bit) for bit in f"{number:0{width}b}"] for number in numbers])


def test_the_example_of_the_module() -> None:
    assert SquareRoot(bits=5).solve([1, 1, 0, 1, 1, 2, 1, 0]) == [IGNORE] * 5 + [1, 0, 1]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 10, 20, 40, 50, 100, 200])
def test_roots_are_those_of_pythons_integers(bits: int) -> None:
    task = SquareRoot(bits=bits)
    batch = drawn(task)
    half = -(-bits // 2)
    assert (task.vocabulary, task.length, batch.inputs_BT.shape[1]) == (3, bits + half, bits + half)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        number = int("".join(map(str, tokens[:bits])), 2)
        root = bits_of([isqrt(number)], half)[0].tolist()
        assert number >= 1
        assert tokens[bits:] == [2, *root[:-1]]
        assert targets == [IGNORE] * bits + root
        assert task.solve(tokens) == task.solve(tokens[: bits + 1] + [0] * (half - 1)) == targets


@pytest.mark.parametrize("bits", [1, 2, 7, 12])
def test_every_small_number_has_its_root(bits: int) -> None:
    every = list(range(2**bits))
    np.testing.assert_array_equal(roots(bits_of(every, bits)), bits_of([isqrt(n) for n in every], -(-bits // 2)))


@pytest.mark.parametrize("bits", [52, 56, 57, 58, 60, 62, 63, 64, 65, 116, 118, 128, 255, 400])
def test_squares_and_their_neighbors_have_their_roots(bits: int) -> None:
    """Numbers at the boundaries of digits and of 64 bits, where errors by one would show."""
    half = bits // 2
    bases = [2**half - 1, 2 ** (half - 1), 2 ** (half - 1) + 1, (2**half) * 2 // 3]
    numbers = [base * base + off for base in bases for off in (-1, 0, 1)] + [0, 1, 2**bits - 1]
    root_bits = roots(bits_of(numbers, bits))
    np.testing.assert_array_equal(root_bits, bits_of([isqrt(number) for number in numbers], -(-bits // 2)))


def test_numbers_are_uniform_above_zero() -> None:
    numbers = drawn(SquareRoot(bits=4), 15_000).inputs_BT[:, :4] @ [8, 4, 2, 1]
    assert p_value(counts(numbers - 1, 15)) > ALPHA
    assert p_value(counts(numbers, 16)) < ALPHA


@pytest.mark.parametrize(("bits", "share"), [(10, 3 / 4), (20, 3 / 4), (21, 1 / 2)])
def test_the_first_bit_of_a_root_is_as_often_one_as_the_module_says(bits: int, share: float) -> None:
    task = SquareRoot(bits=bits)
    first = drawn(task, 8000).targets_BT[:, bits]
    assert p_value(counts(first, 2), [1 - share, share]) > ALPHA


@pytest.mark.parametrize("bits", [4, 20])
def test_chance_is_that_of_a_coin(bits: int) -> None:
    task = SquareRoot(bits=bits)
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, 2, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 3, batch.targets_BT.shape)))


def test_symbols() -> None:
    assert [SquareRoot().token_to_str(token) for token in range(3)] == ["0", "1", "="]
