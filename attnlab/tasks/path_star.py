"""Path-star graphs: predict which of the branches leads to the goal.

    inputs   5 2  0 7  0 5  7 4  /  0  2  =  5      two branches: 0 5 2
    targets  . .  . .  . .  . .  .  .  .  5  2                and 0 7 4

Paths of equal length lead away from a start node and never meet. Their edges are given in random order, each directed
away from the start. The start and the goal, the end of one path, follow. From the marker on the targets are the nodes
of this path without the start. Node labels are drawn for each sequence.

Only the first target needs planning. Each of the others follows an edge from the target before it. So a model that only
follows edges has a token accuracy of (steps - 1 + 1 / branches) / steps and an exact match of 1 / branches; ``asked:
branch`` keeps the first target alone. Chance is a guess among the branches at every step.

Source   Bachmann and Nagarajan, "The pitfalls of next-token prediction", arXiv:2403.06963, and its code.
Theirs   degree of the source -> branches, nodes of a path -> steps + 1.
Differs  edges are pairs of nodes without separators; the path is written without its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.ops.lowest import lowest


@register("path-star", source="arXiv:2403.06963")
@final
class PathStar(Task):
    """Given the shuffled edges of a star of paths, write the path that leads to the goal.

    Options:
        steps: Edges of each path.
        branches: Paths that leave the start.
        nodes: Node labels to draw from.
        asked: ``path`` has the whole path as targets, ``branch`` its first node alone.
    """

    complexity = "steps"

    def __init__(
        self,
        *,
        steps: Annotated[int, Field(ge=1)] = 2,
        branches: Annotated[int, Field(ge=2)] = 2,
        nodes: Annotated[int, Field(ge=3)] = 50,
        asked: Literal["path", "branch"] = "path",
    ) -> None:
        if branches * steps + 1 > nodes:
            hint = f"Use at least {branches * steps + 1} nodes."
            problem = f"{branches} branches of {steps} steps have {branches * steps + 1} nodes, more than {nodes}."
            raise InvalidValueError(problem, hint, where="path-star")
        self.steps, self.branches, self.nodes = steps, branches, nodes
        self.num_targets = steps if asked == "path" else 1
        self.vocabulary = nodes + 2
        self.length = 2 * branches * steps + 3 + self.num_targets
        self.chance = 1 / branches

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw edges in random order, start and goal, and the path without its last node."""
        edges = self.branches * self.steps
        labels = lowest(random.random((batch, self.nodes)), edges + 1)
        start, outer = labels[:, :1], labels[:, 1:].reshape(batch, self.branches, self.steps)
        inner = np.concatenate([np.broadcast_to(start[:, None], (batch, self.branches, 1)), outer[:, :, :-1]], axis=2)
        pairs = np.stack([inner, outer], axis=3).reshape(batch, edges, 2)
        shuffled = np.argsort(random.random((batch, edges)), axis=1)[:, :, None]
        written = np.take_along_axis(pairs, shuffled, axis=1).reshape(batch, 2 * edges)
        path = outer[np.arange(batch), random.integers(0, self.branches, batch)]
        slash, marker = (np.full((batch, 1), self.nodes + sign) for sign in (0, 1))
        answer = path[:, : self.num_targets]
        inputs_BT = np.concatenate([written, slash, start, path[:, -1:], marker, answer[:, :-1]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -self.num_targets :] = answer
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Follow the edges back from the goal."""
        slash = list(tokens).index(self.nodes)
        before = {tokens[position + 1]: tokens[position] for position in range(0, slash, 2)}
        start, node = tokens[slash + 1 : slash + 3]
        path: list[int] = []
        while node != start:
            path.insert(0, node)
            node = before[node]
        return [IGNORE] * (slash + 3) + path[: self.num_targets]

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens:
        """At every step, a uniform choice among the nodes of the branches."""
        rows, slash = np.arange(len(batch.inputs_BT))[:, None], 2 * self.branches * self.steps
        before, after = batch.inputs_BT[:, 0:slash:2], batch.inputs_BT[:, 1:slash:2]
        first = before == batch.inputs_BT[:, slash + 1 : slash + 2]
        follows = np.zeros((len(rows), self.nodes), dtype=np.int64)
        follows[rows, before] = after
        front = [after[first].reshape(len(rows), self.branches)]
        while len(front) < self.num_targets:
            front.append(follows[rows, front[-1]])
        taken = random.integers(0, self.branches, (len(rows), self.num_targets))
        return np.stack(front, axis=1)[rows, np.arange(self.num_targets), taken].ravel()

    def token_to_str(self, token: int) -> str:
        """Nodes as numbers, a slash before start and goal, an equals sign before the path."""
        return str(token) if token < self.nodes else "/="[token - self.nodes]
