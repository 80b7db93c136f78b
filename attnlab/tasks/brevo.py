"""Brevo: of a graph of dependencies, list all that a node depends on, each after what it depends on itself.

    inputs   0 1  0 2  1 3  2 3  1 4   ?  3  =  0  2  1        3 depends on 1 and 2, and these on 0
    targets  . .  . .  . .  . .  . .   .  .  0  2  1  end      0 1 2 is as right

The nodes of a graph are made one after the other. The first quarter, 1 + (nodes - 1) // 4, depend on nothing. Each
other node depends on one to four earlier ones, a uniform number of those on which fewer than four others depend; where
there are too few of these, on all of them. The edges, pairs of a node and one that depends on it, are given in random
order, then the node that is asked, a uniform one of the last quarter. From the marker on the targets are all nodes from
which the asked one can be reached, in topological order, and ``end``. Node labels are drawn for each sequence.

Any topological order is right. The targets have a random one: of the nodes that may come next each is equally likely.
A test generates the whole list and accepts each node on which the asked one depends, that has not been listed, and all
of whose own dependencies have been; ``end`` is accepted once nothing is missing. ``set_match`` and ``f1`` compare what
is listed with what is right in any order. Given the right earlier answers, as in validation, the nodes that may come
next are accepted.

There are ``nodes`` nodes. With ``fewest_nodes`` their number is uniform for each sequence, from there on. Sequences are
filled up at their end.

Source   Allen-Zhu, "Physics of language models: part 4.1", arXiv:2512.17351.
Theirs   each later node takes one to four of the earlier ones, of which fewer than four others have been made.
Differs  a label is one token. How many nodes depend on nothing, which are asked, how their numbers of nodes are drawn
         and in which order their targets are we do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.ops.lowest import lowest

Bools = NDArray[np.bool_]
MOST_PARENTS = 4
"""Most nodes that a node depends on, and most that depend on it."""


@register("brevo", source="arXiv:2512.17351")
@final
class Brevo(Task):
    """Given the shuffled edges of a graph of dependencies, list all that a node depends on, in topological order.

    Options:
        nodes: Nodes of the graph, or the most of them.
        fewest_nodes: Each graph has a number of nodes from here on; None takes ``nodes`` for all.
        names: Node labels to draw from.
    """

    complexity = "nodes"
    scorers = ("set_match", "f1")
    verifies_generated: ClassVar[bool] = True

    def __init__(
        self,
        *,
        nodes: Annotated[int, Field(ge=2)] = 6,
        fewest_nodes: Annotated[int, Field(ge=2)] | None = None,
        names: Annotated[int, Field(ge=2)] = 32,
    ) -> None:
        self.fewest_nodes = nodes if fewest_nodes is None else fewest_nodes
        if self.fewest_nodes > nodes:
            problem = f"At least {fewest_nodes} nodes are more than {nodes}, the most."
            raise InvalidValueError(problem, f"Use fewest_nodes of at most {nodes}.", where="brevo")
        if nodes > names:
            hint = f"Use at most {names} nodes, or at least {nodes} names."
            raise InvalidValueError(f"{nodes} nodes need more than {names} names.", hint, where="brevo")
        self.nodes, self.names = nodes, names
        self.question, self.marker, self.end, self.filler = names, names + 1, names + 2, names + 3
        self.vocabulary = names + 4
        sizes = np.arange(nodes)
        self.most_edges = int(np.minimum(sizes, MOST_PARENTS)[_roots(nodes) :].sum())
        self.length = 2 * self.most_edges + 3 + nodes - 1

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw graphs, the order of their edges, a question and an answer."""
        rows = np.arange(batch)
        sizes_B = random.integers(self.fewest_nodes, self.nodes + 1, batch)
        needs_BCP = self._needs(random, sizes_B)
        late_B = 1 + (sizes_B - 1) // 4
        asked_B = sizes_B - 1 - random.integers(0, late_B)
        order_BS, accepted_BSC = _answers(random, needs_BCP, _ancestors(needs_BCP, asked_B))
        labels_BC = lowest(random.random((batch, self.names)), self.nodes)
        inputs_BT = np.full((batch, self.length + 1), self.filler)
        edges_B = self._write_edges(random, needs_BCP, labels_BC, inputs_BT)
        start_B = 2 * edges_B
        inputs_BT[rows, start_B], inputs_BT[rows, start_B + 2] = self.question, self.marker
        inputs_BT[rows, start_B + 1] = labels_BC[rows, asked_B]
        # Step s of an answer is a node, or -1 for the end; after it there is nothing.
        is_step_BS = np.arange(order_BS.shape[1]) <= (order_BS >= 0).sum(axis=1)[:, None]
        words_BS = np.where(order_BS >= 0, labels_BC[rows[:, None], np.maximum(order_BS, 0)], self.end)
        targets_BT = no_targets(inputs_BT)
        row_N, step_N = np.nonzero(is_step_BS)
        targets_BT[row_N, start_B[row_N] + 2 + step_N] = words_BS[row_N, step_N]
        row_M, step_M = np.nonzero(order_BS >= 0)
        inputs_BT[row_M, start_B[row_M] + 3 + step_M] = words_BS[row_M, step_M]
        node_NC = np.where(accepted_BSC[row_N, step_N], labels_BC[row_N], IGNORE)
        end_N1 = np.where(accepted_BSC[row_N, step_N].any(axis=1), IGNORE, self.end)[:, None]
        return Batch(inputs_BT[:, :-1], targets_BT[:, :-1], np.concatenate([node_NC, end_N1], axis=1))

    def _needs(self, random: np.random.Generator, sizes_B: Tokens) -> Bools:
        """Whether node C depends on node P directly, B x C x P."""
        batch, nodes = len(sizes_B), self.nodes
        needs_BCP = np.zeros((batch, nodes, nodes), dtype=np.bool_)
        dependents_BP = np.zeros((batch, nodes), dtype=np.int64)
        wanted_BC = random.integers(1, MOST_PARENTS + 1, (batch, nodes))
        luck_BCP = random.random((batch, nodes, nodes))
        roots_B = _roots(sizes_B)
        for node in range(1, nodes):
            free_BP = dependents_BP[:, :node] < MOST_PARENTS
            luck_BP = np.where(free_BP, luck_BCP[:, node, :node], 2.0)
            rank_BP = np.argsort(np.argsort(luck_BP, axis=1), axis=1)
            wanted_B = np.where((roots_B <= node) & (node < sizes_B), wanted_BC[:, node], 0)
            chosen_BP = free_BP & (rank_BP < wanted_B[:, None])
            needs_BCP[:, node, :node] = chosen_BP
            dependents_BP[:, :node] += chosen_BP
        return needs_BCP

    def _write_edges(
        self, random: np.random.Generator, needs_BCP: Bools, labels_BC: Tokens, inputs_BT: Tokens
    ) -> Tokens:
        """Write the edges in random order at the beginning of the inputs; their number, B."""
        rows = np.arange(len(inputs_BT))[:, None]
        flat_BE = needs_BCP.reshape(len(rows), -1)
        edges_B = flat_BE.sum(axis=1)
        most = int(edges_B.max(initial=0))
        order_BE = np.argsort(np.where(flat_BE, random.random(flat_BE.shape), 2.0), axis=1)[:, :most]
        is_edge_BE = np.arange(most) < edges_B[:, None]
        for side, node_BE in enumerate((order_BE % self.nodes, order_BE // self.nodes)):
            inputs_BT[:, side : 2 * most : 2] = np.where(is_edge_BE, labels_BC[rows, node_BE], self.filler)
        return edges_B

    def verify(self, batch: Batch, answers_N: Tokens) -> Bools:
        """Compare each answer with the graph, read from the inputs, and with the answers before it."""
        inputs_BT, rows = batch.inputs_BT, np.arange(len(batch.inputs_BT))
        start_B = (inputs_BT == self.question).argmax(axis=1)
        needs_BCP = np.zeros((len(rows), self.names, self.names), dtype=np.bool_)
        for place in range(0, int(start_B.max(initial=0)), 2):
            row_B = rows[place < start_B]
            needs_BCP[row_B, inputs_BT[row_B, place + 1], inputs_BT[row_B, place]] = True
        missing_BC = _ancestors_of_labels(needs_BCP, inputs_BT[rows, start_B + 1])
        position_N = batch.query_positions()
        row_N = position_N // inputs_BT.shape[1]
        step_N = position_N % inputs_BT.shape[1] - start_B[row_N] - 2
        right_N = np.zeros(len(answers_N), dtype=np.bool_)
        for step in range(int(step_N.max(initial=-1)) + 1):
            index = np.flatnonzero(step_N == step)
            row, answer = row_N[index], answers_N[index]
            is_node, node = answer < self.names, np.minimum(answer, self.names - 1)
            blocked = (needs_BCP[row, node] & missing_BC[row]).any(axis=1)
            listed = is_node & missing_BC[row, node]
            right_N[index] = (listed & ~blocked) | ((answer == self.end) & ~missing_BC[row].any(axis=1))
            missing_BC[row[listed], node[listed]] = False
        return right_N

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Collect what the asked node depends on; at each answer, take the lowest label that may come next."""
        start = list(tokens).index(self.question)
        needs: dict[int, set[int]] = {}
        for position in range(0, start, 2):
            needs.setdefault(tokens[position + 1], set()).add(tokens[position])
        missing, waiting = set[int](), [tokens[start + 1]]
        while waiting:
            new = needs.get(waiting.pop(), set()) - missing
            missing |= new
            waiting += new
        targets = [IGNORE] * len(tokens)
        for position in range(start + 2, len(tokens)):
            missing.discard(tokens[position])
            ready = [node for node in missing if not needs.get(node, set()) & missing]
            targets[position] = min(ready, default=self.end)
            if not ready:
                break
        return targets

    def token_to_str(self, token: int) -> str:
        """Nodes as numbers; a question mark, an equals sign, the end, and a dot for what fills the sequence up."""
        return str(token) if token < self.names else ("?", "=", "end", "·")[token - self.names]


def _roots(nodes: Tokens | int) -> Tokens:
    """How many of the nodes depend on nothing."""
    return np.asarray(1 + (nodes - 1) // 4)


def _ancestors(needs_BCP: Bools, asked_B: Tokens) -> Bools:
    """All nodes on which the asked one depends, directly or not; each depends on earlier ones alone, B x C."""
    batch, nodes, _ = needs_BCP.shape
    found_BC = np.zeros((batch, nodes), dtype=np.bool_)
    found_BC[np.arange(batch), asked_B] = True
    for node in range(nodes - 1, -1, -1):
        found_BC |= found_BC[:, node, None] & needs_BCP[:, node]
    found_BC[np.arange(batch), asked_B] = False
    return found_BC


def _ancestors_of_labels(needs_BCP: Bools, asked_B: Tokens) -> Bools:
    """The same where the order of the nodes is not known: go on until nothing is added, B x C."""
    found_BC = needs_BCP[np.arange(len(asked_B)), asked_B]
    while True:
        more_BC = found_BC | (found_BC[:, :, None] & needs_BCP).any(axis=1)
        if (more_BC == found_BC).all():
            return found_BC
        found_BC = more_BC


def _answers(random: np.random.Generator, needs_BCP: Bools, listed_BC: Bools) -> tuple[Tokens, Bools]:
    """Draw topological orders of the listed nodes.

    Returns:
        The node of each step, or -1 after the last, B x S; and which nodes might have been taken there, B x S x C.
    """
    batch, nodes, _ = needs_BCP.shape
    rows, steps = np.arange(batch), int(listed_BC.sum(axis=1).max(initial=0)) + 1
    missing_BC = listed_BC.copy()
    open_BC = (needs_BCP & listed_BC[:, None, :]).sum(axis=2)  # dependencies that are not listed yet
    luck_BSC = random.random((batch, steps, nodes))
    order_BS = np.full((batch, steps), -1)
    accepted_BSC = np.zeros((batch, steps, nodes), dtype=np.bool_)
    for step in range(steps):
        ready_BC = accepted_BSC[:, step] = missing_BC & (open_BC == 0)
        node_B = np.where(ready_BC, luck_BSC[:, step], -1.0).argmax(axis=1)
        is_any_B = ready_BC.any(axis=1)
        order_BS[:, step] = np.where(is_any_B, node_B, -1)
        missing_BC[rows, node_B] &= ~is_any_B
        open_BC -= np.where(is_any_B[:, None], needs_BCP[rows, :, node_B], False)
    return order_BS, accepted_BSC
