from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import TASKS
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.word_problem import WordProblem, multiplication
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score

LADDERS = ("word-z5", "word-s3", "word-z60", "word-a4xz5", "word-a5", "word-s5")


def orders(table: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> dict[int, int]:
    """Number of elements of each order."""
    order_counts = Counter[int]()
    for element in range(len(table)):
        power, order = element, 1
        while power != 0:
            power, order = int(table[power, element]), order + 1
        order_counts[order] += 1
    return dict(order_counts)


@pytest.mark.parametrize(
    ("group", "tokens", "targets"), [("S3", "213 132 132", "213 231 213"), ("Z5", "3 4 1", "3 2 3")]
)
def test_the_examples_of_the_module(group: str, tokens: str, targets: str) -> None:
    task = WordProblem(length=3, group=group)
    ids = [task.words.index(word) for word in tokens.split()]
    assert [task.token_to_str(token) for token in task.solve(ids)] == targets.split()


@pytest.mark.parametrize(
    ("group", "order_counts"),
    [
        ("Z2", {1: 1, 2: 1}),
        ("Z6", {1: 1, 2: 1, 3: 2, 6: 2}),
        ("S3", {1: 1, 2: 3, 3: 2}),
        ("A4", {1: 1, 2: 3, 3: 8}),
        ("A5", {1: 1, 2: 15, 3: 20, 5: 24}),
        ("S5", {1: 1, 2: 25, 3: 20, 4: 30, 5: 24, 6: 20}),
        ("A4xZ5", {1: 1, 2: 3, 3: 8, 5: 4, 10: 12, 15: 32}),
        ("Z2xZ2xS3", {1: 1, 2: 15, 3: 2, 6: 6}),
    ],
)
def test_tables_are_those_of_groups_with_the_right_orders(group: str, order_counts: dict[int, int]) -> None:
    words, table = multiplication(group)
    size = len(words)
    every = np.arange(size)
    assert table.shape == (size, size)
    assert len(set(words)) == size == sum(order_counts.values())
    np.testing.assert_array_equal(table[0], every)
    np.testing.assert_array_equal(table[:, 0], every)
    np.testing.assert_array_equal(np.sort(table, axis=1), np.broadcast_to(every, table.shape))
    np.testing.assert_array_equal(table[table[:, :, None], every], table[every[:, None, None], table])
    assert orders(table) == order_counts


def test_groups_of_one_size_differ_in_commutativity() -> None:
    commuting = {group: (table == table.T).mean() for group in ("Z60", "A4xZ5", "A5")
                 for _, table in [multiplication(group)]}  # fmt: skip
    # The share of commuting pairs is the number of conjugacy classes over the number of elements.
    assert commuting == pytest.approx({"Z60": 1.0, "A4xZ5": 20 / 60, "A5": 5 / 60})


@pytest.mark.parametrize("group", ["Z2", "S3", "A4xZ5", "S5"])
def test_the_solver_computes_every_product(group: str) -> None:
    task = WordProblem(length=9, group=group)
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


@pytest.mark.parametrize(("name", "level"), [(name, level) for name in LADDERS for level in find_ladder(name).levels])
def test_every_level_is_solved(name: str, level: int) -> None:
    task = build(task_spec(find_ladder(name), {}, level))
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT[:40].tolist(), batch.targets_BT[:40].tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_elements_and_products_are_uniform() -> None:
    batch = WordProblem(length=4, group="S3").sample(np.random.default_rng(0), 12_000)
    assert p_value(counts(batch.inputs_BT, 6)) > ALPHA
    assert p_value(counts(batch.inputs_BT[:, :2] @ [6, 1], 36)) > ALPHA
    assert p_value(counts(batch.targets_BT[:, -1], 6)) > ALPHA
    assert p_value(counts(batch.targets_BT[:, -1], 6), np.arange(10, 16) / 75) < ALPHA


@pytest.mark.parametrize("group", ["Z5", "A5"])
def test_a_uniform_guess_scores_chance(group: str) -> None:
    task, random = WordProblem(length=8, group=group), np.random.default_rng(5)
    batch = task.sample(random, 1000)
    assert at_chance(uniform_score(task, batch, random.integers(0, task.vocabulary, batch.inputs_BT.shape)))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("S6", "S6 has more than 120 elements.\n  Use at most S5."),
        ("Z121", "Z121 has more than 120 elements.\n  Use at most Z120."),
        ("A5xZ3", "A5xZ3 has at least 180 elements; at most 120 are possible.\n  Use smaller factors."),
        ("Z1xS1", "Z1xS1 has only one element.\n  Use a group with at least two elements."),
    ],
)
def test_groups_that_are_too_large_or_too_small_are_refused(group: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        WordProblem(group=group)
    assert str(caught.value) == f"word-problem\n  {message}"


@pytest.mark.parametrize("group", ["D4", "S", "Z05", "s3", "A4x"])
def test_a_malformed_group_name_is_refused(group: str) -> None:
    with pytest.raises(InvalidValueError, match="Option 'group' cannot be"):
        TASKS.entry("word-problem").complete({"group": group})
