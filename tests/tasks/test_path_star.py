from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.path_star import PathStar
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value


def drawn(rows: int, seed: int = 0, **options: Any) -> tuple[PathStar, Batch]:
    task = PathStar(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = PathStar(nodes=8)
    tokens = ["01234567/=".index(word) for word in "52070574/02=5"]
    assert task.solve(tokens) == [IGNORE] * 11 + [5, 2]
    assert PathStar(nodes=8, asked="branch").solve(tokens[:-1]) == [IGNORE] * 11 + [5]
    assert [task.token_to_str(token) for token in range(10)] == [*"01234567", "/", "="]


@pytest.mark.parametrize(("steps", "branches", "asked"), [(1, 2, "path"), (3, 4, "path"), (4, 2, "branch")])
def test_edges_are_those_of_a_star_of_paths(steps: int, branches: int, asked: str) -> None:
    """Follow every branch from the start; the solver starts at the goal."""
    task, batch = drawn(200, steps=steps, branches=branches, asked=asked, nodes=20)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(tokens) == task.length
        slash = 2 * steps * branches
        assert (tokens[slash], tokens[slash + 3]) == (20, 21)
        edges = [(tokens[position], tokens[position + 1]) for position in range(0, slash, 2)]
        start, goal = tokens[slash + 1 : slash + 3]
        assert len({node for edge in edges for node in edge}) == steps * branches + 1
        ways = []
        for _, node in [edge for edge in edges if edge[0] == start]:
            way = [node]
            while more := [other for one, other in edges if one == way[-1]]:
                way += more
            ways.append(way)
        assert [len(way) for way in ways] == [steps] * branches
        (path,) = [way for way in ways if way[-1] == goal]
        answer = path if asked == "path" else path[:1]
        assert targets == [IGNORE] * (slash + 3) + answer
        assert tokens[slash + 4 :] == answer[:-1]


def test_labels_orders_and_goals_are_uniform() -> None:
    _, batch = drawn(20_000, steps=1, branches=2, nodes=5)
    tokens = batch.inputs_BT
    assert p_value(counts(tokens[:, 0], 5)) > ALPHA
    ends = counts(tokens[:, [1, 3]] @ [5, 1], 25).reshape(5, 5)
    assert (np.diag(ends) == 0).all()
    assert p_value(ends[~np.eye(5, dtype=bool)]) > ALPHA
    assert p_value(counts(tokens[:, 6] == tokens[:, 1], 2)) > ALPHA
    assert p_value(counts(tokens[:, 6] == tokens[:, 1], 2), [0.45, 0.55]) < ALPHA


def test_edges_are_in_every_order() -> None:
    _, batch = drawn(12_000, steps=2, branches=2, nodes=9)
    path = batch.targets_BT[:, -2]
    ends = batch.inputs_BT[:, 1:8:2]
    first, goal = (np.argmax(ends == node[:, None], axis=1) for node in (path, batch.inputs_BT[:, 10]))
    positions = counts(4 * first + goal, 16).reshape(4, 4)
    assert (np.diag(positions) == 0).all()
    assert p_value(positions[~np.eye(4, dtype=bool)]) > ALPHA


@pytest.mark.parametrize("asked", ["path", "branch"])
def test_a_guess_among_the_branches_scores_chance(asked: str) -> None:
    task, batch = drawn(2000, steps=3, branches=4, asked=asked)
    random = np.random.default_rng(6)
    guesses = batch.targets_BT.copy()
    for row, (tokens, targets) in enumerate(zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)):
        follows: dict[int, list[int]] = {}
        for position in range(0, 24, 2):
            follows.setdefault(tokens[position], []).append(tokens[position + 1])
        front = [tokens[25]]
        for position, answer in enumerate(targets):
            if answer != IGNORE:
                front = [after for node in front for after in follows[node]]
                guesses[row, position] = random.choice(front)
    assert at_chance(guess_score(task, batch, guesses))


def test_following_edges_without_a_plan_misses_only_the_first_target() -> None:
    task, batch = drawn(2000, steps=4, branches=2)
    right = 0
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        follows = {tokens[position]: tokens[position + 1] for position in range(0, 16, 2)}
        predecessors = [token if token != 51 else tokens[17] for token in tokens[19:]]
        right += sum(follows[token] == answer for token, answer in zip(predecessors, targets[19:], strict=True))
    assert right / (4 * 2000) == pytest.approx((3 + 1 / 2) / 4, abs=0.01)
    assert task.chance == 1 / 2


@pytest.mark.parametrize(
    ("name", "level"),
    [(name, level) for name in ("path-star", "path-star-branch") for level in find_ladder(name).levels],
)
def test_the_solver_solves_every_level(name: str, level: int) -> None:
    task = build(task_spec(find_ladder(name), {}, level))
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        PathStar(steps=5, branches=10)
    problem = "10 branches of 5 steps have 51 nodes, more than 50."
    assert str(caught.value) == f"path-star\n  {problem}\n  Use at least 51 nodes."
    assert PathStar(steps=5, branches=10, nodes=51).length == 108


@pytest.mark.parametrize(("steps", "branches", "asked"), [(1, 2, "path"), (3, 4, "path"), (2, 5, "branch")])
def test_its_own_guess_is_as_good_as_chance(steps: int, branches: int, asked: str) -> None:
    task, batch = drawn(3000, steps=steps, branches=branches, asked=asked)
    predictions = task.chance_baseline(np.random.default_rng(3), batch)
    right = batch.targets_BT[batch.targets_BT != IGNORE]
    assert at_chance(Score(correct=int((predictions == right).sum()), total=len(right), chance=task.chance))


def test_its_own_guess_is_a_node_at_the_right_step_of_a_branch() -> None:
    """Over many draws, it predicts every node of that step and no other."""
    task, batch = drawn(1, steps=3, branches=2)
    tokens = batch.inputs_BT[0].tolist()
    edges = [(tokens[position], tokens[position + 1]) for position in range(0, 12, 2)]
    fronts = [{tokens[13]}]
    while len(fronts) <= 3:
        fronts.append({after for before, after in edges if before in fronts[-1]})
    random = np.random.default_rng(0)
    predictions = np.array([task.chance_baseline(random, batch) for _ in range(100)])
    assert [set(column) for column in predictions.T.tolist()] == fronts[1:]
