from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.depo import Depo
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from tests.tasks.chance import ALPHA, at_chance, counts, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 100, seed: int = 0, **options: Any) -> tuple[Depo, Batch]:
    task = Depo(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = Depo(hops=2, nodes=3, queries=2)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("depo", rows=50) == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hops": 5, "fewest_hops": 2, "nodes": 9, "fewest_nodes": 3, "queries": 4},
        {"nodes": 2, "queries": 1, "names": 2},
        {"hops": 7, "nodes": 5, "fewest_nodes": 2},
    ],
)
def test_edges_form_one_cycle_and_answers_lie_on_it(options: dict[str, Any]) -> None:
    """Write the cycle as a list; answers are at the index of the node plus the hops."""
    task, batch = drawn(**options)
    fewest, most = options.get("fewest_nodes", task.nodes), task.nodes
    sizes = set()
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        words = [task.token_to_str(token) for token in tokens]
        start = next(index for index, word in enumerate(words) if word.startswith("<"))
        edges = [(words[index], words[index + 1]) for index in range(0, start, 2)]
        cycle = [edges[0][0]]
        while (following := dict(edges)[cycle[-1]]) != cycle[0]:
            cycle.append(following)
        assert len(cycle) == len(edges) == len(set(edges))
        sizes.add(len(cycle))
        end = start + 3 * task.queries - 1
        for index in range(start, end, 3):
            hops, node = int(words[index][1:-1]), words[index + 1]
            assert task.fewest_hops <= hops <= task.hops
            answer = cycle[(cycle.index(node) + hops) % len(cycle)]
            assert task.token_to_str(targets[index + 1]) == answer
            assert index + 2 == end or words[index + 2] == answer
        assert set(words[end:]) <= {"·"}
        assert sum(target != IGNORE for target in targets) == task.queries
        asked = [words[index + 1] for index in range(start, end, 3)]
        assert len(set(asked[: len(cycle)])) == min(len(cycle), len(asked))
        assert asked[len(cycle) :] == asked[: -len(cycle)] or len(asked) <= len(cycle)
    assert (min(sizes), max(sizes)) == (fewest, most)


def test_nodes_orders_and_queries_are_uniform() -> None:
    task, batch = drawn(6000, nodes=3, names=4, queries=2, hops=2, fewest_hops=1)
    assert p_value(counts(batch.inputs_BT[:, 0], 4)) > ALPHA
    edge = 4 * batch.inputs_BT[:, 0] + batch.inputs_BT[:, 1]
    seen = counts(edge, 16).reshape(4, 4)
    assert p_value(seen[~np.eye(4, dtype=bool)]) > ALPHA
    second = batch.inputs_BT[:, 2] == batch.inputs_BT[:, 1]  # whether the second edge goes on where the first one ends
    assert p_value(counts(second, 2)) > ALPHA
    asked = (batch.inputs_BT[:, 7:8] == batch.inputs_BT[:, 0:6:2]).argmax(axis=1)
    assert p_value(counts(asked, 3)) > ALPHA
    asked_next = (batch.inputs_BT[:, 10:11] == batch.inputs_BT[:, 0:6:2]).argmax(axis=1)
    assert p_value(counts((asked_next - asked) % 3, 3)[1:]) > ALPHA
    assert p_value(counts(batch.inputs_BT[:, 6] - task.filler - 1, 2)) > ALPHA


def test_numbers_of_nodes_have_the_stated_shares() -> None:
    _, batch = drawn(8000, nodes=9, fewest_nodes=3)
    sizes = (batch.inputs_BT > 50).argmax(axis=1) // 2
    weights = [1 / (size + 3) for size in range(3, 10)]
    assert p_value(counts(sizes - 3, 7), np.array(weights) / sum(weights)) > ALPHA
    assert p_value(counts(sizes - 3, 7)) < ALPHA


@pytest.mark.parametrize(
    "options", [{}, {"nodes": 6, "fewest_nodes": 3, "hops": 2}, {"nodes": 6, "hops": 2, "fewest_hops": 1}]
)
def test_its_own_guess_is_as_good_as_chance(options: dict[str, Any]) -> None:
    task, batch = drawn(3000, **options)
    right = batch.query_targets()
    predictions = task.chance_baseline(np.random.default_rng(1), batch)
    score = Score(correct=int((predictions == right).sum()), total=len(right), chance=task.chance)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1.2 * task.chance}))


def test_chance_is_that_of_a_guess_among_the_nodes_that_are_left() -> None:
    assert Depo(nodes=4, queries=3).chance == pytest.approx((1 / 4 + 1 / 3 + 1 / 2) / 3)
    assert Depo(nodes=2, queries=3).chance == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert Depo(nodes=4, queries=3, hops=2, fewest_hops=1).chance == pytest.approx(1 / 4)
    shares = np.array([1 / (2 + np.sqrt(3)), 1 / (3 + np.sqrt(3))])
    expected = shares / shares.sum() @ [(1 / 2 + 1) / 2, (1 / 3 + 1 / 2) / 2]
    assert Depo(nodes=3, fewest_nodes=2, queries=2).chance == pytest.approx(expected)


def test_training_has_fewer_hops_and_nodes_too_and_the_test_has_not() -> None:
    source = Source(task_spec(find_ladder("depo"), {}, 4), seed=0)
    trained = source.training(0, 300).inputs_BT
    assert set(trained[trained > 50].tolist()) == {51, 52, 53, 54}
    tested = source.task.sample(np.random.default_rng(0), 50).inputs_BT
    assert set(tested[tested > 50].tolist()) == {54}
    assert (tested > 50).argmax(axis=1).tolist() == [32] * 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fewest_hops": 2}, "At least 2 hops are more than 1, the most.\n  Use fewest_hops of at most 1."),
        (
            {"nodes": 4, "fewest_nodes": 5},
            "At least 5 nodes are more than 4, the most.\n  Use fewest_nodes of at most 4.",
        ),
        (
            {"nodes": 51},
            "51 nodes need more than 50 names.\n  Use at most 50 nodes, or at least 51 names.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Depo(**options)
    assert str(caught.value) == f"depo\n  {message}"
