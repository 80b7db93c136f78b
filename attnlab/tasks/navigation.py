"""Cycle navigation: predict the place on a ring that a walk has reached.

    inputs   +  +  =  -  +          inputs   +  +  =  -  +
    running  1  2  2  1  2          last     .  .  .  .  2

A walk starts at place 0 of a ring of five places. Each step goes back, stays or goes forward with equal probability.
The result does not depend on the order of the steps. After few steps the places near the start are more likely, so that
chance, the probability of the most likely place, falls towards one fifth with the length.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (cycle
         navigation: last, five places; the digit of each step is that of the code).
Differs  the target is at the last step itself, without a placeholder; places have ids of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

STEPS = 3
"""Ids of the steps: 0 back, 1 stay, 2 forward; the places follow."""

UNIFORM = 1e-15
"""Places whose probabilities differ by no more are equally likely, after all further steps too."""


@register("cycle-navigation", source="arXiv:2207.02098")
@final
class CycleNavigation(Task):
    """Predict the place on a ring that a walk of single steps has reached.

    Options:
        moves: Length of the walk.
        places: Length of the ring.
        asked: ``last`` sets a target at the last step only, ``running`` at every step.
    """

    complexity = "moves"

    def __init__(
        self,
        *,
        moves: Annotated[int, Field(ge=1)] = 10,
        places: Annotated[int, Field(ge=2)] = 5,
        asked: Literal["last", "running"] = "last",
    ) -> None:
        self.moves, self.places, self.asked = moves, places, asked
        self.vocabulary, self.length = STEPS + places, moves
        highest = _highest_probabilities(moves, places)
        self.chance = highest[-1] if asked == "last" else sum(highest) / moves

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform steps; the targets are the places they lead to."""
        inputs_BT = random.integers(0, STEPS, (batch, self.moves))
        reached = STEPS + np.cumsum(inputs_BT - 1, axis=1) % self.places
        if self.asked == "running":
            return Batch(inputs_BT, reached)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = reached[:, -1]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Follow the walk step by step."""
        place, targets = 0, []
        for token in tokens:
            if token == 0:
                place = place - 1 if place else self.places - 1
            elif token == 2:
                place = place + 1 if place < self.places - 1 else 0
            targets.append(STEPS + place)
        return targets if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + targets[-1:]

    def token_to_str(self, token: int) -> str:
        """Steps as signs, places as numbers."""
        return "-=+"[token] if token < STEPS else str(token - STEPS)


def _highest_probabilities(moves: int, places: int) -> list[float]:
    """The probability of the most likely place after each step."""
    probabilities = np.zeros(places)
    probabilities[0] = 1
    highest = []
    for step in range(1, moves + 1):
        probabilities = (np.roll(probabilities, -1) + probabilities + np.roll(probabilities, 1)) / 3
        highest.append(float(probabilities.max()))
        if highest[-1] - probabilities.min() < UNIFORM:
            return highest + [highest[-1]] * (moves - step)
    return highest
