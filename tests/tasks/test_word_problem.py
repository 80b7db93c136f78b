from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, TASKS, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.ops.groups import multiplication
from attnlab.tasks.word_problem import WordProblem
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score

LADDERS = (
    "word-s5-swaps",
    "word-s5-spread",
    "word-s5-image",
    "word-a5-identity",
    "word-z5",
    "word-s3",
    "word-z60",
    "word-a4xz5",
    "word-a5",
    "word-s5",
)


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


def drawn(rows: int, seed: int = 0, **options: Any) -> tuple[WordProblem, Batch]:
    task = WordProblem(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def composed(words: list[str]) -> str:
    """The product of permutations as text: what the last one does to each point is moved by the ones before it."""
    points = "12345"[: len(words[0])]
    for word in reversed(words):
        points = "".join(word[int(point) - 1] for point in points)
    return points


def test_the_example_with_options() -> None:
    task = WordProblem(length=2, group="S3", elements="swaps", spread=2, asked="image")
    ids = [task.strings.index(word) for word in ["213", "_", "132", "_"]]
    assert task.solve(ids) == [IGNORE, task.strings.index("@2"), IGNORE, task.strings.index("@2")]
    assert task.strings == ["123", "132", "213", "231", "312", "321", "_", "@1", "@2", "@3"]


@pytest.mark.parametrize(("elements", "count"), [("swaps", 10), ("swaps+3cycles", 30), ("all", 120)])
def test_the_elements_are_the_swaps_and_cycles_of_the_group_and_uniform(elements: str, count: int) -> None:
    task, batch = drawn(3000, group="S5", length=4, elements=elements)
    moved = [
        sum(image != str(point) for point, image in enumerate(task.words[element], 1)) for element in task.elements
    ]
    expected = {"swaps": {2}, "swaps+3cycles": {2, 3}, "all": {0, 2, 3, 4, 5}}[elements]
    assert len(task.elements) == count
    assert set(moved) == expected
    seen = counts(batch.inputs_BT, 120)[task.elements]
    assert seen.sum() == batch.inputs_BT.size
    assert p_value(seen) > ALPHA


@pytest.mark.parametrize("asked", ["permutation", "image", "identity"])
@pytest.mark.parametrize(("elements", "spread"), [("all", 1), ("swaps", 3)])
def test_answers_are_those_of_the_composed_permutations(asked: Any, elements: Any, spread: int) -> None:
    task, batch = drawn(60, group="S4", length=6, elements=elements, spread=spread, asked=asked)
    assert task.length == batch.inputs_BT.shape[1] == 6 * spread
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        strings = [task.token_to_str(token) for token in tokens]
        assert {word for position, word in enumerate(strings) if position % spread} <= {"_"}
        for number in range(1, 7):
            word = composed(strings[: number * spread : spread])
            answer = {"permutation": word, "image": f"@{word[0]}", "identity": "no"}[asked]
            if asked == "identity":
                answer = "yes" if word == "1234" else "no"
            target = targets[number * spread - 1]
            if asked == "identity" and number < 6:
                assert target == IGNORE
            else:
                assert task.token_to_str(target) == answer
        assert sum(target != IGNORE for target in targets) == (1 if asked == "identity" else 6)


@pytest.mark.parametrize(
    ("group", "elements", "length"), [("S3", "swaps", 4), ("S3", "swaps+3cycles", 3), ("A4", "all", 2)]
)
def test_words_that_are_neutral_and_those_that_are_not_are_each_uniform(group: str, elements: Any, length: int) -> None:
    task, batch = drawn(20_000, group=group, elements=elements, length=length, asked="identity")
    words = list(product(task.elements.tolist(), repeat=length))
    products = [composed([task.words[element] for element in word]) == task.words[0] for word in words]
    yes = batch.targets_BT[:, -1] == task.vocabulary - 1
    assert p_value(counts(yes, 2)) > ALPHA
    codes = batch.inputs_BT @ (len(task.words) ** np.arange(length)[::-1])
    for answer in (True, False):
        possible = [word for word, is_neutral in zip(words, products, strict=True) if is_neutral == answer]
        numbers = np.array(possible) @ (len(task.words) ** np.arange(length)[::-1])
        seen = counts(codes[yes == answer], len(task.words) ** length)[numbers]
        assert seen.sum() == (yes == answer).sum()
        assert p_value(seen) > ALPHA
    assert task.chance == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"group": "A5", "elements": "swaps"},
            "A5 has no swaps.\n  Use a symmetric group, such as S5, or elements=all.",
        ),
        (
            {"group": "S3xZ2", "elements": "swaps+3cycles"},
            "S3xZ2 has no swaps+3cycles.\n  Use a symmetric group, such as S5, or elements=all.",
        ),
        (
            {"group": "Z5", "asked": "image"},
            "The elements of Z5 are not permutations, so that point 1 has no image.\n"
            "  Use a symmetric or alternating group, such as S5.",
        ),
        (
            {"group": "S5", "elements": "swaps", "asked": "identity", "length": 5},
            "A product of 5 swaps of S5 is never the neutral element.\n  Use another length, or elements=all.",
        ),
        (
            {"group": "S2", "elements": "swaps", "asked": "identity", "length": 2},
            "A product of 2 swaps of S2 is always the neutral element.\n  Use another length, or elements=all.",
        ),
    ],
)
def test_options_that_cannot_be_combined_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        WordProblem(**options)
    assert str(caught.value) == f"word-problem\n  {message}"
