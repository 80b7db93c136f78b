from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.dag_reachability import DagReachability
from tests.tasks.chance import ALPHA, counts, p_value
from tests.tasks.examples import example, unsolved

OPTIONS: list[dict[str, Any]] = [
    {},
    {"nodes": 2, "queries": 1, "names": 4},
    {"trees": 3, "nodes": 9, "order": "random"},
    {"nodes": 32, "queries": 40},
]


def drawn(rows: int = 100, seed: int = 0, **options: Any) -> tuple[DagReachability, Batch]:
    task = DagReachability(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = DagReachability(nodes=3, queries=3, names=6)
    inputs, targets = example(task)
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("dag-reachability", rows=50) == 0


@pytest.mark.parametrize("options", OPTIONS)
def test_answers_are_those_of_the_powers_of_the_edge_matrix(options: dict[str, Any]) -> None:
    """A node is reached if some power of the matrix of edges has an entry there."""
    task, batch = drawn(**options)
    trees, nodes = options.get("trees", 2), task.nodes
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        words = [task.token_to_str(token) for token in tokens]
        start = words.index("?")
        assert start == 2 * trees * (nodes - 1)
        edges = np.zeros((task.names, task.names), dtype=np.int64)
        for position in range(0, start, 2):
            edges[int(words[position]), int(words[position + 1])] = 1
        reached, power = np.zeros_like(edges), edges
        while power.any():
            reached, power = reached | (power > 0), power @ edges
        children = edges.sum(axis=0)
        assert children.max() == 1
        roots = np.flatnonzero((edges.sum(axis=1) > 0) & (children == 0))
        assert len(roots) == trees
        assert (reached[roots].sum(axis=1) == nodes - 1).all()
        asked = words[start + 1 :]
        for index in range(0, len(asked), 2):
            root, node = int(asked[index]), int(asked[index + 1])
            assert root in roots
            assert node not in roots
            assert task.token_to_str(targets[start + 2 + index]) == ("y" if reached[root, node] else "n")
        assert sum(target != IGNORE for target in targets) == len(asked) // 2


def parents_first(task: DagReachability, tokens: list[int]) -> bool:
    named = set[int]()
    children = {tokens[position + 1] for position in range(0, 2 * task.edges, 2)}
    for position in range(0, 2 * task.edges, 2):
        parent, child = tokens[position : position + 2]
        if parent in children and parent not in named:
            return False
        named.add(child)
    return True


def test_edges_are_in_topological_order_unless_it_is_random() -> None:
    task, batch = drawn(nodes=8)
    assert all(parents_first(task, tokens) for tokens in batch.inputs_BT.tolist())
    task, batch = drawn(nodes=8, order="random")
    assert sum(parents_first(task, tokens) for tokens in batch.inputs_BT.tolist()) < 20


def test_trees_orders_questions_and_answers_are_uniform() -> None:
    task, batch = drawn(8000, nodes=3, queries=2, names=6)
    tokens = batch.inputs_BT
    assert p_value(counts(tokens[:, 0], 6)) > ALPHA
    # Four edges, two of each tree, of which the first comes first: six orders of the trees.
    is_first_tree = (tokens[:, 2:8:2] == tokens[:, :1]) | (tokens[:, 2:8:2] == tokens[:, 1:2])
    assert p_value(counts(is_first_tree @ [1, 2, 4], 8)[[1, 2, 4]]) > ALPHA
    # The second edge of a tree leaves its root or its first child.
    second = is_first_tree.argmax(axis=1)
    parent = tokens[np.arange(len(tokens)), 2 + 2 * second]
    assert p_value(counts(parent == tokens[:, 0], 2)) > ALPHA
    assert p_value(counts(batch.query_targets() - task.no, 2)) > ALPHA
    asked = tokens[:, [10, 12]]
    place = (tokens[:, 1:8:2][:, :, None] == asked[:, None, :]).argmax(axis=1)
    assert p_value(counts(place, 4)) > ALPHA
    agree = batch.query_targets().reshape(-1, 2)
    assert p_value(counts(agree[:, 0] == agree[:, 1], 2)) > ALPHA


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        DagReachability(nodes=33)
    assert str(caught.value) == (
        "dag-reachability\n  2 trees of 33 nodes need 66 names, more than 64.\n  Use at least 66 names."
    )
