"""Cycle navigation: where on a ring do the steps lead?

    inputs   +  +  =  -  +          inputs   +  +  =  -  +
    running  1  2  2  1  2          last     .  .  .  .  2

A walk starts on place 0 of a ring of five; each step goes back, stays or goes forward, all as likely. The answer does
not depend on the order of the steps. After few steps the places near the start are the likelier ones, so that chance,
the share of always the likeliest place, falls towards one fifth with the length.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (cycle
         navigation: last, five places; which digit means which step is that of the code).
Differs  the answer is due on the last step itself, without a placeholder; places have ids of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

STEPS = 3
"""Ids of the steps: 0 back, 1 stay, 2 forward; the places follow."""


@register("cycle-navigation", source="arXiv:2207.02098")
@final
class CycleNavigation(Task):
    """Tell where on a ring a walk of single steps has come to.

    Options:
        moves: Length of the walk.
        places: Length of the ring.
        asked: ``last`` asks only at the end, ``running`` at every step.
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
        likeliest = _likeliest(moves, places)
        self.chance = likeliest[-1] if asked == "last" else sum(likeliest) / moves

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform steps, and the places they lead to."""
        inputs_BT = random.integers(0, STEPS, (batch, self.moves))
        reached = STEPS + np.cumsum(inputs_BT - 1, axis=1) % self.places
        if self.asked == "running":
            return Batch(inputs_BT, reached)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = reached[:, -1]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Walk."""
        place, answers = 0, []
        for token in tokens:
            if token == 0:
                place = place - 1 if place else self.places - 1
            elif token == 2:
                place = place + 1 if place < self.places - 1 else 0
            answers.append(STEPS + place)
        return answers if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + answers[-1:]

    def token_to_str(self, token: int) -> str:
        """Steps as signs, places as numbers."""
        return "-=+"[token] if token < STEPS else str(token - STEPS)


def _likeliest(moves: int, places: int) -> list[float]:
    """The probability of the likeliest place after each step."""
    share = np.zeros(places)
    share[0] = 1
    result = []
    for _ in range(moves):
        share = (np.roll(share, -1) + share + np.roll(share, 1)) / 3
        result.append(float(share.max()))
    return result
