"""Reachability in a directed acyclic graph of trees: can a node be reached from a root?

    inputs   0 2  1 3  0 4  2 5  ?  0 5  1 2  1 3      two trees: 0 -> 2 -> 5, 0 -> 4; and 1 -> 3
    targets  . .  . .  . .  . .  .  . y  . n  . y

Each tree has ``nodes`` nodes. The first is its root, and each other one is the child of a uniform one of the nodes of
its tree before it. The edges, pairs of a parent and a child, are given in topological order, so that a node is named as
a child before it is named as a parent; those of the trees are mixed at random. With ``order: random`` their order is
uniform. Questions follow: a root and a node that is no root, a uniform one; the target at the node is y (yes) where it
is in the tree of this root. One half of the questions are about its own root, the others about a uniform other one.
Node labels are drawn for each sequence. The trees have equal numbers of nodes, so that only the path of parents tells.

Given in topological order, one pass that keeps the root of each node answers all questions; in random order, each step
along a path needs a look-up of its own. Chance is a guess between yes and no.

Source   Zhang et al., "DeltaFormer", arXiv:2505.19488, section 4.2: reachability in a directed acyclic graph of two
         trees of 32 nodes.
Differs  how trees, orders and questions are drawn; we do not know theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.ops.lowest import lowest


@register("dag-reachability", source="arXiv:2505.19488")
@final
class DagReachability(Task):
    """Given the edges of some trees, tell whether nodes can be reached from roots.

    Options:
        nodes: Nodes of each tree.
        trees: Number of trees.
        queries: Questions of a sequence.
        order: ``topological`` names a node as a child before it is named as a parent, ``random`` has any order.
        names: Node labels to draw from.
    """

    complexity = "nodes"
    chance = 0.5

    def __init__(
        self,
        *,
        nodes: Annotated[int, Field(ge=2)] = 8,
        trees: Annotated[int, Field(ge=2)] = 2,
        queries: Annotated[int, Field(ge=1)] = 8,
        order: Literal["topological", "random"] = "topological",
        names: Annotated[int, Field(ge=4)] = 64,
    ) -> None:
        if trees * nodes > names:
            hint = f"Use at least {trees * nodes} names."
            problem = f"{trees} trees of {nodes} nodes need {trees * nodes} names, more than {names}."
            raise InvalidValueError(problem, hint, where="dag-reachability")
        self.nodes, self.trees, self.queries, self.order, self.names = nodes, trees, queries, order, names
        self.edges = trees * (nodes - 1)
        self.question, self.no, self.yes = names, names + 1, names + 2
        self.vocabulary = names + 3
        self.length = 2 * self.edges + 1 + 2 * queries

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw trees, the order of their edges, and questions."""
        rows, trees, nodes = np.arange(batch)[:, None], self.trees, self.nodes
        labels = lowest(random.random((batch, self.names)), trees * nodes)
        labels = labels.reshape(batch, trees, nodes)
        places = np.arange(1, nodes)
        parents = (random.random((batch, trees, nodes - 1)) * places).astype(np.int64)
        pairs = np.stack([np.take_along_axis(labels, parents, axis=2), labels[:, :, 1:]], axis=3)
        times = random.random((batch, trees, nodes - 1))
        if self.order == "topological":
            times = np.sort(times, axis=2)
        order = np.argsort(times.reshape(batch, -1), axis=1)
        edges = pairs.reshape(batch, self.edges, 2)[rows, order].reshape(batch, -1)
        shape = (batch, self.queries)
        tree, place = random.integers(0, trees, shape), random.integers(1, nodes, shape)
        is_reached = random.random(shape) < 0.5
        root = np.where(is_reached, tree, (tree + random.integers(1, trees, shape)) % trees)
        asked = np.stack([labels[rows, root, 0], labels[rows, tree, place]], axis=2).reshape(batch, -1)
        inputs_BT = np.concatenate([edges, np.full((batch, 1), self.question), asked], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, 2 * self.edges + 2 :: 2] = np.where(is_reached, self.yes, self.no)
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Go from the node to its parent until there is none."""
        start = list(tokens).index(self.question)
        parent = {tokens[position + 1]: tokens[position] for position in range(0, start, 2)}
        targets = [IGNORE] * len(tokens)
        for position in range(start + 1, len(tokens), 2):
            node = tokens[position + 1]
            while node in parent:
                node = parent[node]
            targets[position + 1] = self.yes if node == tokens[position] else self.no
        return targets

    def token_to_str(self, token: int) -> str:
        """Nodes as numbers, a question mark before the questions, n and y."""
        return str(token) if token < self.names else "?ny"[token - self.names]
