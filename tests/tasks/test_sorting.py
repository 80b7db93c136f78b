from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations
from typing import Any, Literal

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.sorting import BucketSort, OddsFirst, Unique
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value, uniform_score


def drawn(task: Task, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def rearranged(task: BucketSort | OddsFirst | Unique, string: list[int]) -> list[int]:
    """The expected targets after a string, by plain Python."""
    if isinstance(task, BucketSort):
        return sorted(string)
    if isinstance(task, OddsFirst):
        return string[::2] + string[1::2] if task.counted_from == 1 else string[1::2] + string[::2]
    return list(dict.fromkeys(string))


TASKS: list[BucketSort | OddsFirst | Unique] = [
    BucketSort(),
    BucketSort(symbols=1, alphabet=2),
    BucketSort(symbols=40, alphabet=9),
    OddsFirst(),
    OddsFirst(symbols=1),
    OddsFirst(symbols=1, counted_from=0),
    OddsFirst(symbols=9, alphabet=5, counted_from=0),
    OddsFirst(symbols=9, alphabet=5),
    Unique(),
    Unique(symbols=1, distinct=1, alphabet=2),
    Unique(symbols=8, distinct=8, alphabet=8),
    Unique(symbols=30, distinct=1, alphabet=3),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task).__name__}-{task.symbols}-{task.alphabet}")
def test_the_string_a_marker_and_the_answer_written_out(task: BucketSort | OddsFirst | Unique) -> None:
    batch = drawn(task)
    assert batch.inputs_BT.shape[1] == task.length
    assert task.vocabulary == task.alphabet + 1
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        string = tokens[: task.symbols]
        written = rearranged(task, string)
        assert all(0 <= letter < task.alphabet for letter in string)
        assert tokens == [*string, task.alphabet, *written[:-1]]
        assert targets == [IGNORE] * task.symbols + written


@pytest.mark.parametrize("kind", [BucketSort, OddsFirst])
def test_letters_are_uniform(kind: type[BucketSort] | type[OddsFirst]) -> None:
    letters = drawn(kind(symbols=2, alphabet=3), 5000).inputs_BT[:, :2]
    assert p_value(counts(3 * letters[:, 0] + letters[:, 1], 9)) > ALPHA
    assert p_value(counts(3 * letters.min(axis=1) + letters.max(axis=1), 9)) < ALPHA


def test_unique_letters_are_uniform_without_replacement() -> None:
    targets_BA = drawn(Unique(symbols=5, distinct=2, alphabet=4), 20_000).targets_BT[:, -2:]
    seen = Counter(map(tuple, targets_BA.tolist()))
    every = list(permutations(range(4), 2))
    assert set(seen) == set(every)
    assert p_value([seen[pair] for pair in every]) > ALPHA


def shapes(task: Unique, rows: int) -> Counter[tuple[int, ...]]:
    """Strings with each letter replaced by its number in the order of first appearance."""
    shape_counts: Counter[tuple[int, ...]] = Counter()
    for tokens in drawn(task, rows).inputs_BT.tolist():
        string = tokens[: task.symbols]
        order = list(dict.fromkeys(string))
        shape_counts[tuple(order.index(letter) for letter in string)] += 1
    return shape_counts


def test_positions_of_first_appearance_are_uniform_and_so_are_the_repeats() -> None:
    """Probability of each shape: a uniform set of positions, and a uniform earlier letter at every other position."""
    task = Unique(symbols=5, distinct=3, alphabet=4)
    seen = shapes(task, 30_000)
    shares: dict[tuple[int, ...], float] = {}
    sets = list(combinations(range(1, 5), 2))
    for later in sets:
        grown: dict[tuple[int, ...], float] = {(0,): 1 / len(sets)}
        for position in range(1, 5):
            grown = {
                (*shape, letter): share / (1 if position in later else max(shape) + 1)
                for shape, share in grown.items()
                for letter in ([max(shape) + 1] if position in later else range(max(shape) + 1))
            }
        shares |= grown
    assert sum(shares.values()) == pytest.approx(1)
    assert set(seen) == set(shares)
    assert p_value([seen[shape] for shape in shares], list(shares.values())) > ALPHA
    assert p_value([seen[shape] for shape in shares]) < ALPHA


@pytest.mark.parametrize(
    "task", [BucketSort(symbols=20), BucketSort(symbols=6, alphabet=11), OddsFirst(), OddsFirst(alphabet=7)]
)
def test_chance_is_that_of_a_uniform_guess(task: BucketSort | OddsFirst) -> None:
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, task.alphabet, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 2 * task.alphabet, batch.targets_BT.shape)))


@pytest.mark.parametrize("symbols", [10, 40])
def test_repeating_the_last_letter_sorts_most_of_a_long_string_as_the_module_says(symbols: int) -> None:
    task = BucketSort(symbols=symbols)
    batch = drawn(task, 1000)
    different = sum(len(set(tokens[:symbols])) for tokens in batch.inputs_BT.tolist())
    repeated = guess_score(task, batch, batch.inputs_BT)
    assert repeated.total - repeated.correct == different
    assert repeated.mean > {10: 0.5, 40: 0.87}[symbols]


@pytest.mark.parametrize(("distinct", "alphabet"), [(8, 32), (4, 4), (5, 7)])
def test_chance_of_unique_is_that_of_a_letter_of_the_string_and_not_of_one_not_yet_written(
    distinct: int, alphabet: int
) -> None:
    task = Unique(symbols=12, distinct=distinct, alphabet=alphabet)
    batch = drawn(task, 1000)
    random = np.random.default_rng(1)
    weights = np.repeat(random.random((1000, 1, alphabet)), task.length, axis=1)
    for position in range(task.symbols + 1, task.length):
        weights[np.arange(1000), position:, :] = random.random((1000, 1, alphabet))
        for written in range(task.symbols + 1, position + 1):
            weights[np.arange(1000), position, batch.inputs_BT[:, written]] = -1
    score = uniform_score(task, batch, weights.argmax(axis=2))
    unwritten = np.mean([1 / (alphabet - written) for written in range(distinct)])
    assert at_chance(score.model_copy(update={"chance": unwritten}))
    assert task.chance == 1 / distinct


@pytest.mark.parametrize(
    ("task", "string", "targets"),
    [
        (BucketSort(symbols=5), "30401", "00134"),
        (OddsFirst(symbols=5), "01101", "01110"),
        (OddsFirst(symbols=8), "00110101", "01000111"),
        (OddsFirst(symbols=8, counted_from=0), "00110101", "01110100"),
        (Unique(symbols=5, distinct=3, alphabet=5), "30340", "304"),
    ],
)
def test_examples(task: BucketSort | OddsFirst | Unique, string: str, targets: str) -> None:
    letters, written = [int(sign) for sign in string], [int(sign) for sign in targets]
    assert rearranged(task, letters) == written
    assert task.solve([*letters, task.alphabet, *written[:-1]]) == [IGNORE] * len(letters) + written


@pytest.mark.parametrize("symbols", [10, 20, 40, 50, 100, 200])
@pytest.mark.parametrize("kind", [BucketSort, OddsFirst])
def test_every_level_is_solved_from_the_question_only(kind: type[BucketSort] | type[OddsFirst], symbols: int) -> None:
    solved_from_the_question(kind(symbols=symbols))


@pytest.mark.parametrize("symbols", [8, 12, 16, 24, 32, 48, 64])
def test_every_level_of_unique_is_solved_from_the_question_only(symbols: int) -> None:
    solved_from_the_question(Unique(symbols=symbols))


def solved_from_the_question(task: BucketSort | OddsFirst | Unique) -> None:
    batch = drawn(task)
    question_length = task.symbols + 1
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert (
            task.solve(tokens)
            == task.solve(tokens[:question_length] + [0] * (len(tokens) - question_length))
            == targets
        )


@pytest.mark.parametrize("counted_from", [0, 1])
def test_both_ways_of_counting_write_all_letters(counted_from: Literal[0, 1]) -> None:
    batch = drawn(OddsFirst(symbols=7, alphabet=6, counted_from=counted_from))
    np.testing.assert_array_equal(np.sort(batch.inputs_BT[:, :7], axis=1), np.sort(batch.targets_BT[:, 7:], axis=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"symbols": 7}, "8 different letters do not fit a string of 7: 8 > 7.\n  Use at most 7."),
        ({"alphabet": 6}, "8 different letters do not fit an alphabet of 6: 8 > 6.\n  Use at most 6."),
        ({"symbols": 5, "alphabet": 6}, "8 different letters do not fit a string of 5: 8 > 5.\n  Use at most 5."),
    ],
)
def test_too_many_different_letters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Unique(**options)
    assert str(caught.value) == f"unique\n  {message}"


def test_symbols() -> None:
    for task in (BucketSort(alphabet=3), OddsFirst(alphabet=3), Unique(distinct=2, alphabet=3)):
        assert [task.token_to_str(token) for token in range(4)] == ["0", "1", "2", "|"]
