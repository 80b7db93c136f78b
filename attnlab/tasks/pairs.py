"""Even pairs: predict whether the number of unequal neighbors is odd.

    inputs   1  0  0  1  0
    targets  .  .  .  .  1

Every step from 0 to 1 or back is a pair of unequal neighbors. Their number is odd exactly if the first and the last bit
differ. Bits are uniform.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (even_pairs).
Differs  the target is at the last symbol itself, without a placeholder. A single bit, for which the target is always
         0, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register


@register("even-pairs", source="arXiv:2207.02098, even pairs")
@final
class EvenPairs(Task):
    """Predict whether a string of bits changes an odd number of times.

    Options:
        bits: Length of the string.
    """

    complexity = "bits"

    def __init__(self, *, bits: Annotated[int, Field(ge=2)] = 10) -> None:
        self.bits = bits
        self.vocabulary, self.length = 2, bits

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform bits; the target depends on the first and the last."""
        inputs_BT = random.integers(0, 2, (batch, self.bits))
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT[:, 0] ^ inputs_BT[:, -1]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Count the pairs of unequal neighbors."""
        unequal = sum(one != other for one, other in pairwise(tokens))
        return [IGNORE] * (len(tokens) - 1) + [unequal % 2]
