"""Depo: a cycle is given by its edges in random order; follow it k steps from a node.

    inputs   7 2  4 7  2 4   <1> 7 2  <2> 4        the cycle 7 -> 2 -> 4 -> 7
    targets  . .  . .  . .    .  2 .   .  2

The edges of a cycle are pairs of a node and its successor. Queries follow: a number of hops <k>, a node, and its k-th
successor, the target at the node. Each answer but the last is the next token of the input. Node labels are drawn for
each sequence. Nodes are asked in a random order, each once; if there are more queries, they are asked in this order
again.

There are ``nodes`` nodes and each query has ``hops`` hops. With ``fewest_nodes`` the number of nodes is drawn for each
sequence, with P(n) ~ 1 / (n + sqrt(nodes)), and with ``fewest_hops`` the hops of each query are uniform from there on.
A sequence with fewer nodes is filled up at its end. Chance is a guess among the nodes, without those that have been
answers where all queries have the same number of hops: no two nodes have the same successor.

Source   Allen-Zhu, "Physics of language models: part 4.1", arXiv:2512.17351, and its code.
Theirs   N -> nodes, from 3 on, K -> hops, from 1 on, up to 10 queries.
Differs  a name is one token (theirs: one or two of 50, or five to seven of 4); the number of queries is fixed. Whether
         theirs ask for a node twice we do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.ops.lowest import lowest


@register("depo", source="arXiv:2512.17351")
@final
class Depo(Task):
    """Given the shuffled edges of a cycle, predict the k-th successor of nodes.

    Options:
        hops: Steps along the cycle, or the most of them.
        fewest_hops: Each query has a uniform number of hops from here on; None takes ``hops`` for all.
        nodes: Nodes of the cycle, or the most of them.
        fewest_nodes: Each sequence has a number of nodes from here on; None takes ``nodes`` for all.
        queries: Questions of a sequence.
        names: Node labels to draw from.
    """

    complexity = "hops"
    chance_guess = "a guess among the nodes that are left"

    def __init__(
        self,
        *,
        hops: Annotated[int, Field(ge=1)] = 1,
        fewest_hops: Annotated[int, Field(ge=1)] | None = None,
        nodes: Annotated[int, Field(ge=2)] = 16,
        fewest_nodes: Annotated[int, Field(ge=2)] | None = None,
        queries: Annotated[int, Field(ge=1)] = 10,
        names: Annotated[int, Field(ge=2)] = 50,
    ) -> None:
        self.fewest_hops = hops if fewest_hops is None else fewest_hops
        self.fewest_nodes = nodes if fewest_nodes is None else fewest_nodes
        for what, fewest, most in (("hops", self.fewest_hops, hops), ("nodes", self.fewest_nodes, nodes)):
            if fewest > most:
                problem = f"At least {fewest} {what} are more than {most}, the most."
                raise InvalidValueError(problem, f"Use fewest_{what} of at most {most}.", where="depo")
        if nodes > names:
            hint = f"Use at most {names} nodes, or at least {nodes} names."
            raise InvalidValueError(f"{nodes} nodes need more than {names} names.", hint, where="depo")
        self.hops, self.nodes, self.queries, self.names = hops, nodes, queries, names
        self.filler = names
        self.vocabulary = names + 1 + hops
        self.length = 2 * nodes + 3 * queries - 1
        self.node_shares = _node_shares(self.fewest_nodes, nodes)
        sizes = np.arange(self.fewest_nodes, nodes + 1)[:, None]
        answered = np.arange(queries) % sizes if self.fewest_hops == hops else 0
        self.chance = float((self.node_shares[:, None] / (sizes - answered)).sum() / (sizes - answered).shape[1])

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw cycles, the order of their edges, and queries."""
        rows = np.arange(batch)[:, None]
        sizes = self.fewest_nodes + random.choice(len(self.node_shares), (batch, 1), p=self.node_shares)
        labels = lowest(random.random((batch, self.names)), self.nodes)
        place = np.arange(self.nodes)
        after = (place + 1) % sizes
        edges = np.stack([labels, labels[rows, after]], axis=2)
        # Edges of places beyond the size come last.
        order = np.argsort(np.where(place < sizes, random.random((batch, self.nodes)), 2.0), axis=1)
        edges = np.where((place < sizes)[:, :, None], edges[rows, order], self.filler)
        hops = random.integers(self.fewest_hops, self.hops + 1, (batch, self.queries))
        in_order = np.argsort(np.where(place < sizes, random.random((batch, self.nodes)), 2.0), axis=1)
        asked = in_order[rows, np.arange(self.queries) % sizes]
        answers = labels[rows, (asked + hops) % sizes]
        questions = np.stack([self.filler + hops, labels[rows, asked], answers], axis=2).reshape(batch, -1)
        inputs_BT = np.full((batch, self.length + 1), self.filler)
        inputs_BT[:, : 2 * self.nodes] = edges.reshape(batch, -1)
        inputs_BT[rows, 2 * sizes + np.arange(3 * self.queries)] = questions
        inputs_BT[rows, 2 * sizes + 3 * self.queries - 1] = self.filler
        targets_BT = no_targets(inputs_BT)
        targets_BT[rows, 2 * sizes + 3 * np.arange(self.queries) + 1] = answers
        return Batch(inputs_BT[:, :-1], targets_BT[:, :-1])

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Follow the edges one by one for each query."""
        targets = [IGNORE] * len(tokens)
        position, follows = 0, dict[int, int]()
        while tokens[position] < self.filler:
            follows[tokens[position]] = tokens[position + 1]
            position += 2
        while position < len(tokens) and tokens[position] != self.filler:
            node = tokens[position + 1]
            for _ in range(tokens[position] - self.filler):
                node = follows[node]
            targets[position + 1] = node
            position += 3
        return targets

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens:
        """A uniform guess among the nodes of the sequence, without earlier answers if the hops are the same."""
        rows = np.arange(len(batch.inputs_BT))
        is_node = np.zeros((len(rows), self.vocabulary), dtype=np.bool_)
        is_node[rows[:, None], batch.inputs_BT] = True
        is_node = is_node[:, : self.names]
        sizes, possible, guesses = is_node.sum(axis=1), is_node.copy(), []
        for query, answer in enumerate(batch.query_targets().reshape(-1, self.queries).T):
            again = query % sizes == 0
            possible[again] = is_node[again]
            guesses.append(np.where(possible, random.random(possible.shape), -1.0).argmax(axis=1))
            possible[rows, answer] = self.fewest_hops < self.hops
        return np.stack(guesses, axis=1).ravel()

    def token_to_str(self, token: int) -> str:
        """Nodes as numbers, hops as <1>, <2>, ...; a dot for what fills the sequence up."""
        return str(token) if token < self.filler else "·" if token == self.filler else f"<{token - self.filler}>"


def _node_shares(fewest: int, most: int) -> NDArray[np.float64]:
    """The probability of each number of nodes, fewest .. most."""
    weights = 1 / (np.arange(fewest, most + 1) + np.sqrt(most))
    return np.asarray(weights / weights.sum())
