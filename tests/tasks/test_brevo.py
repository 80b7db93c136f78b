from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.brevo import Brevo
from attnlab.tasks.io.fed_back import FedBackAnswers
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from tests.tasks.chance import ALPHA, counts, p_value
from tests.tasks.examples import example

OPTIONS: list[dict[str, Any]] = [
    {},
    {"nodes": 2, "names": 2},
    {"nodes": 9, "fewest_nodes": 3},
    {"nodes": 20, "names": 40},
]


def drawn(rows: int = 100, seed: int = 0, **options: Any) -> tuple[Brevo, Batch]:
    task = Brevo(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


class Graph:
    """One sequence, read as words."""

    def __init__(self, task: Brevo, tokens: list[int], targets: list[int]) -> None:
        words = [task.token_to_str(token) for token in tokens]
        self.start = words.index("?")
        self.edges = list(zip(words[0 : self.start : 2], words[1 : self.start : 2], strict=True))
        self.asked = words[self.start + 1]
        assert words[self.start + 2] == "="
        self.answer = [task.token_to_str(target) for target in targets if target != IGNORE]
        self.inputs = words[self.start + 3 :]

    def needed(self, node: str) -> set[str]:
        """What a node depends on, by recursion."""
        return {one for below, above in self.edges if above == node for one in {below} | self.needed(below)}


def rows_of(task: Brevo, batch: Batch) -> list[Graph]:
    pairs = zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    return [Graph(task, tokens, targets) for tokens, targets in pairs]


def is_topological(graph: Graph, order: list[str]) -> bool:
    place = {node: index for index, node in enumerate(order)}
    return all(place[below] < place[above] for below, above in graph.edges if above in place)


def test_the_example_of_the_module() -> None:
    task = Brevo(nodes=5)
    inputs, targets = example(task)
    batch = Batch(np.array([inputs]), np.array([targets]))
    assert task.verify(batch, batch.query_targets()).tolist() == [True] * 4
    other = np.array([0, 1, 2, task.end])
    assert task.verify(batch, other).tolist() == [True] * 4
    assert task.solve(inputs)[-4:] == [0, 1, 1, task.end]  # the lowest that may come next, given the answers before


@pytest.mark.parametrize("options", OPTIONS)
def test_answers_are_all_that_the_asked_node_needs_in_topological_order(options: dict[str, Any]) -> None:
    task, batch = drawn(**options)
    for graph in rows_of(task, batch):
        *order, end = graph.answer
        assert end == "end"
        assert set(order) == graph.needed(graph.asked)
        assert len(order) == len(set(order))
        assert is_topological(graph, order)
        assert graph.inputs[: len(order)] == order[: len(graph.inputs)]
        assert set(graph.inputs[len(order) :]) <= {"·"}


@pytest.mark.parametrize("options", OPTIONS)
def test_graphs_are_as_stated(options: dict[str, Any]) -> None:
    task, batch = drawn(300, **options)
    fewest = options.get("fewest_nodes", task.nodes)
    for graph in rows_of(task, batch):
        above = [above for _, above in graph.edges]
        below = [below for below, _ in graph.edges]
        assert len(set(graph.edges)) == len(graph.edges)
        assert max(map(above.count, above)) <= 4
        assert max(map(below.count, below)) <= 4
        nodes = {*above, *below}
        assert len(nodes) <= task.nodes
        assert not any(node in graph.needed(node) for node in nodes)
        # Of n nodes 1 + (n - 1) // 4 depend on nothing; those on which nothing depends either are not in the edges.
        dependent = len(set(above))
        assert fewest - 1 - (fewest - 1) // 4 <= dependent <= task.nodes - 1 - (task.nodes - 1) // 4


def test_accepted_tokens_are_those_that_may_come_next() -> None:
    """Of all orders of the answer, those that are topological and begin with the answers before."""
    task, batch = drawn(60, nodes=6, fewest_nodes=3)
    assert batch.accepted_NW is not None
    accepted = iter(batch.accepted_NW.tolist())
    for graph in rows_of(task, batch):
        *order, _ = graph.answer
        valid = [list(one) for one in permutations(order) if is_topological(graph, list(one))]
        for step in range(len(order) + 1):
            following = {(*one, "end")[step] for one in valid if one[:step] == order[:step]}
            assert {task.token_to_str(token) for token in next(accepted) if token != IGNORE} == following


def test_every_level_is_solved() -> None:
    """The solver gives an accepted answer at each position with a target, and at no other."""
    for level in find_ladder("brevo").levels:
        source = Source(task_spec(find_ladder("brevo"), {}, level), seed=0)
        batch = source.task.sample(np.random.default_rng(0), 50)
        solved_BT = np.array([source.task.solve(tokens) for tokens in batch.inputs_BT.tolist()])
        assert ((solved_BT != IGNORE) == (batch.targets_BT != IGNORE)).all()
        assert batch.correct(solved_BT[solved_BT != IGNORE]).all()


@pytest.mark.parametrize("options", OPTIONS)
def test_a_generated_list_is_compared_with_the_graph(options: dict[str, Any]) -> None:
    """Random answers are right where a slow reading of the rule says so; targets always are."""
    task, batch = drawn(60, **options)
    assert task.verify(batch, batch.query_targets()).all()
    random = np.random.default_rng(1)
    graphs, sizes = rows_of(task, batch), (batch.targets_BT != IGNORE).sum(axis=1)
    answers, expected = [], []
    for graph, size in zip(graphs, sizes.tolist(), strict=True):
        missing = graph.needed(graph.asked)
        listed: set[str] = set()
        for _ in range(size):
            pool = [*sorted(missing), "end", graph.asked, task.token_to_str(int(random.integers(task.names))), "="]
            word = pool[int(random.integers(len(pool)))]
            below = {one for one, above in graph.edges if above == word}
            right = (word in missing - listed and below <= listed) or (word == "end" and missing == listed)
            listed |= {word} & missing
            answers.append(next(t for t in range(task.vocabulary) if task.token_to_str(t) == word))
            expected.append(right)
    assert task.verify(batch, np.array(answers)).tolist() == expected
    assert len(set(expected)) == 2


def test_any_topological_order_is_right_in_a_rollout_and_not_given_the_targets() -> None:
    task, batch = drawn(300, nodes=8)
    answers = batch.query_targets().copy()
    reordered, start = 0, 0
    for graph in rows_of(task, batch):
        order = graph.answer[:-1]
        for index in range(len(order) - 1):
            swapped = [*order[:index], order[index + 1], order[index], *order[index + 2 :]]
            if is_topological(graph, swapped):
                answers[start + index], answers[start + index + 1] = int(swapped[index]), int(swapped[index + 1])
                reordered += 1
                break
        start += len(order) + 1
    assert reordered > 100
    assert task.verify(batch, answers).all()
    assert not batch.correct(answers).all()
    assert FedBackAnswers(task).any


def test_orders_labels_and_questions_are_uniform() -> None:
    task, batch = drawn(6000, nodes=5, names=6)
    graphs = rows_of(task, batch)
    assert p_value(counts(batch.inputs_BT[:, 0], 6)) > ALPHA
    assert p_value(counts([int(graph.asked) for graph in graphs], 6)) > ALPHA
    # Two nodes on which the asked one depends, and neither on the other, come in either order.
    free = []
    for graph in graphs:
        order = graph.answer[:-1]
        if len(order) == 2 and is_topological(graph, order[::-1]):
            edges = [below for below, above in graph.edges if above == graph.asked]
            free.append(order == edges)
    assert len(free) > 300
    assert p_value(counts(free, 2)) > ALPHA


def test_training_has_fewer_nodes_too_and_the_test_has_not() -> None:
    source = Source(task_spec(find_ladder("brevo"), {}, 6), seed=0)
    task = Brevo(nodes=6)

    def dependents(batch: Batch) -> set[int]:
        return {len({above for _, above in graph.edges}) for graph in rows_of(task, batch)}

    assert dependents(source.training(0, 300)) == {2, 3, 4}  # of 3 and 4 nodes, 1 depends on nothing; of 5 and 6, 2
    assert dependents(source.task.sample(np.random.default_rng(0), 50)) == {4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"nodes": 4, "fewest_nodes": 5},
            "At least 5 nodes are more than 4, the most.\n  Use fewest_nodes of at most 4.",
        ),
        ({"nodes": 33}, "33 nodes need more than 32 names.\n  Use at most 32 nodes, or at least 33 names."),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Brevo(**options)
    assert str(caught.value) == f"brevo\n  {message}"
