from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, dyck
from attnlab.tasks.dyck import Dyck, opening_probabilities, opening_probability
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from tests.tasks.chance import ALPHA, at_chance, guess_score, p_value


def words(pairs: int, depth: int) -> list[tuple[int, ...]]:
    """All well-nested words of one kind, +1 opening and -1 closing, by trying every string."""
    result = []
    for word in product((1, -1), repeat=2 * pairs):
        heights = np.cumsum(word)
        if heights.min() >= 0 and heights[-1] == 0 and heights.max() <= depth:
            result.append(word)
    return result


def draw(rows: int, seed: int = 0, **options: Any) -> tuple[Dyck, np.ndarray[Any, np.dtype[np.int64]]]:
    """Complete words: the last bracket is the last target."""
    task = Dyck(**options)
    batch = task.sample(np.random.default_rng(seed), rows)
    return task, np.concatenate([batch.inputs_BT, batch.targets_BT[:, -1:]], axis=1)


def test_the_example_of_the_module() -> None:
    task = Dyck(pairs=4, kinds=2)
    tokens = ["([)]".index(word) for word in "([]([])"]
    solved = "".join("." if token == IGNORE else task.token_to_str(token) for token in task.solve(tokens))
    assert "".join(map(task.token_to_str, tokens)) == "([]([])"
    assert solved == ".]..]))"


@pytest.mark.parametrize(("pairs", "kinds", "depth"), [(1, 2, None), (6, 3, None), (6, 2, 2), (5, 2, 1), (4, 2, 9)])
def test_words_are_nested_and_their_kinds_match(pairs: int, kinds: int, depth: int | None) -> None:
    task, result = draw(300, pairs=pairs, kinds=kinds, depth=depth)
    assert (task.vocabulary, task.length, task.chance) == (2 * kinds, 2 * pairs - 1, 1 / kinds)
    for word in result.tolist():
        stack: list[int] = []
        for bracket in word:
            if bracket < kinds:
                stack.append(bracket)
                assert len(stack) <= (depth or pairs)
            else:
                assert stack.pop() == bracket - kinds
        assert not stack


def test_targets_are_the_brackets_that_close_next() -> None:
    batch = Dyck(pairs=5, kinds=2).sample(np.random.default_rng(0), 200)
    following = batch.inputs_BT[:, 1:]
    np.testing.assert_array_equal(batch.targets_BT[:, :-1], np.where(following >= 2, following, IGNORE))
    assert ((batch.targets_BT != IGNORE).sum(axis=1) == 5).all()


@pytest.mark.parametrize(("pairs", "depth", "count"), [(4, 4, 14), (4, 2, 8), (5, 3, 34), (5, 5, 42)])
def test_words_are_uniform_over_all_of_their_length_and_depth(pairs: int, depth: int, count: int) -> None:
    expected = words(pairs, depth)
    assert len(expected) == count
    _, result = draw(400 * count, pairs=pairs, kinds=2, depth=depth)
    shapes = Counter(tuple(row) for row in np.where(result < 2, 1, -1).tolist())
    observed = [shapes[word] for word in expected]
    assert sum(observed) == len(result)
    assert p_value(observed) > ALPHA
    by_coin = np.array([0.5 ** (word.count(1) - (np.cumsum(word) == depth).sum()) for word in expected])
    assert p_value(observed, by_coin / by_coin.sum()) < ALPHA


def test_kinds_are_uniform_and_independent() -> None:
    _, result = draw(9000, pairs=2, kinds=3)
    opened = np.stack([row[row < 3] for row in result])
    assert p_value(np.bincount(opened @ [3, 1], minlength=9)) > ALPHA


def test_probabilities_without_a_bound_follow_from_the_ballot_theorem() -> None:
    pairs = 600
    counted = opening_probabilities(pairs, pairs)
    for position in range(2 * pairs):
        left = 2 * pairs - position
        heights = np.arange(position % 2, min(position, left) + 1, 2)
        np.testing.assert_allclose(opening_probability(left, heights), counted[position, heights], rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 3, 20, 64])
def test_shares_of_integers_and_of_floats_agree(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = opening_probabilities(64, depth)
    assert exact[0, 0] == 1
    assert exact[-1, 1] == 0
    monkeypatch.setattr(dyck, "EXACT", 0)
    np.testing.assert_allclose(opening_probabilities(64, depth), exact, rtol=1e-12)


def test_unbounded_words_are_those_of_a_bound_that_binds_nowhere() -> None:
    free, bound = Dyck(pairs=40), Dyck(pairs=40, depth=40)
    bound.opening = opening_probabilities(40, 40)
    for task in (free, bound):
        assert (
            task.sample(np.random.default_rng(3), 500).inputs_BT.tolist()
            == free.sample(np.random.default_rng(3), 500).inputs_BT.tolist()
        )


def test_a_uniform_guess_scores_chance_and_the_last_opened_bracket_about_half() -> None:
    task, random = Dyck(pairs=16, kinds=4), np.random.default_rng(4)
    batch = task.sample(random, 1000)
    assert at_chance(guess_score(task, batch, random.integers(4, 8, batch.inputs_BT.shape)))
    latest = np.maximum.accumulate(np.where(batch.inputs_BT < 4, np.arange(31), 0), axis=1)
    shallow = guess_score(task, batch, np.take_along_axis(batch.inputs_BT, latest, axis=1) + 4)
    assert 0.5 < shallow.correct / shallow.total < 0.7


@pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name in ("dyck", "dyck-bounded") for level in find_ladder(name).levels]
)
def test_the_solver_solves_every_level(name: str, level: int) -> None:
    task = build(task_spec(find_ladder(name), {}, level))
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_further_kinds_are_numbered() -> None:
    task = Dyck(kinds=6)
    assert [task.token_to_str(token) for token in range(12)] == [*"([{<", "(5", "(6", *")]}>", "5)", "6)"]
