"""Parity: predict whether the number of ones so far is odd.

    inputs   1  0  1  1          inputs   1  0  1  1
    running  1  1  0  1          last     .  .  .  1

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098 (parity check: last);
         the running form is the cumulative parity of the code of arXiv:2312.04927.
Differs  a fixed length; the target is at the last symbol itself, without a placeholder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register


@register("parity", source="arXiv:2207.02098")
@final
class Parity(Task):
    """Predict whether the number of ones so far is odd.

    Options:
        bits: Length of the string.
        asked: ``running`` sets a target at every position, ``last`` at the last one only.
    """

    complexity = "bits"

    def __init__(self, *, bits: Annotated[int, Field(ge=1)] = 4, asked: Literal["running", "last"] = "running") -> None:
        self.bits, self.asked = bits, asked
        self.vocabulary, self.length = 2, bits

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform bits; the targets are their parities."""
        inputs_BT = random.integers(0, 2, (batch, self.bits))
        parities = np.cumsum(inputs_BT, axis=1) % 2
        if self.asked == "running":
            return Batch(inputs_BT, parities)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = parities[:, -1]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Flip the parity at every one."""
        odd, targets = False, []
        for token in tokens:
            odd = odd != (token == 1)
            targets.append(int(odd))
        return targets if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + targets[-1:]
