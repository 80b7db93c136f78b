from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, navigation
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.navigation import CycleNavigation
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value


def words(task: CycleNavigation, tokens: list[int]) -> list[str]:
    return ["." if token == IGNORE else task.token_to_str(token) for token in tokens]


def test_the_example_of_the_module() -> None:
    walk = [2, 2, 1, 0, 2]
    running, last = CycleNavigation(moves=5, asked="running"), CycleNavigation(moves=5)
    assert words(running, walk) == ["+", "+", "=", "-", "+"]
    assert words(running, running.solve(walk)) == ["1", "2", "2", "1", "2"]
    assert words(last, last.solve(walk)) == [".", ".", ".", ".", "2"]


def test_the_ring_closes_both_ways() -> None:
    task = CycleNavigation(moves=6, asked="running")
    assert words(task, task.solve([2] * 6)) == ["1", "2", "3", "4", "0", "1"]
    assert words(task, task.solve([0] * 6)) == ["4", "3", "2", "1", "0", "4"]


def test_steps_are_uniform() -> None:
    steps = CycleNavigation(moves=4).sample(np.random.default_rng(0), 10_000).inputs_BT
    assert p_value(counts(steps, 3)) > ALPHA
    assert p_value(counts(steps, 3), [0.3, 0.35, 0.35]) < ALPHA
    assert p_value(counts(steps @ [27, 9, 3, 1], 81)) > ALPHA


@pytest.mark.parametrize(("moves", "places"), [(1, 5), (2, 5), (3, 2), (6, 4), (7, 5)])
def test_chance_is_the_share_of_the_most_likely_place_over_all_walks(moves: int, places: int) -> None:
    ends = [sum(walk) % places for walk in product((-1, 0, 1), repeat=moves)]
    assert CycleNavigation(moves=moves, places=places).chance == pytest.approx(max(counts(ends, places)) / 3**moves)


def test_chance_of_a_long_walk_is_that_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    short = [CycleNavigation(moves=200, asked=asked).chance for asked in ("last", "running")]
    monkeypatch.setattr(navigation, "UNIFORM", 0.0)
    every = [CycleNavigation(moves=200, asked=asked).chance for asked in ("last", "running")]
    assert short == pytest.approx(every, rel=1e-14)


@pytest.mark.parametrize("options", [{"moves": 3}, {"moves": 10}, {"moves": 4, "asked": "running"}])
def test_the_most_likely_place_scores_chance_and_no_place_scores_more(options: dict[str, Any]) -> None:
    task = CycleNavigation(**options)
    batch = task.sample(np.random.default_rng(1), 20_000)
    scores = [guess_score(task, batch, place) for place in range(3, task.vocabulary)]
    believed = [p_value([one.correct, one.total - one.correct], [task.chance, 1 - task.chance]) for one in scores]
    assert believed[0] > ALPHA
    assert all(
        one > ALPHA or score.correct < task.chance * score.total for one, score in zip(believed, scores, strict=True)
    )


def test_after_a_long_walk_a_uniform_guess_scores_chance() -> None:
    task, random = CycleNavigation(moves=40), np.random.default_rng(2)
    batch = task.sample(random, 4000)
    assert task.chance == pytest.approx(0.2, abs=1e-6)
    assert at_chance(guess_score(task, batch, random.integers(3, 8, batch.inputs_BT.shape)))


@pytest.mark.parametrize("level", find_ladder("cycle-navigation").levels)
def test_the_solver_solves_every_level(level: int) -> None:
    task = build(task_spec(find_ladder("cycle-navigation"), {}, level))
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_sizes_and_symbols() -> None:
    task = CycleNavigation(moves=7, places=4)
    assert (task.vocabulary, task.length) == (7, 7)
    assert [task.token_to_str(token) for token in range(7)] == ["-", "=", "+", "0", "1", "2", "3"]
