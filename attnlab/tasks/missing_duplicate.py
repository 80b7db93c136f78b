"""Missing duplicate: a string of bits is written twice with one bit hidden; predict the hidden bit.

    inputs   0  1  1  0  0  1  ?  0          inputs   1  0  1  1  ?  1  _
    targets  .  .  .  .  .  .  .  1          targets  .  .  .  .  .  .  0

``symbols`` counts both halves. The hidden position is uniform over both halves. If it is in the first half, the second
half shows the bit, and the other way round. An odd number of symbols ends with an empty symbol.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (missing_duplicate_string).
Theirs   length -> symbols; the ids are theirs: 2 hides, 3 is empty.
Differs  the target is at the last symbol itself, without a placeholder. A length of 1, for which theirs always has
         the target 1, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

HIDDEN, EMPTY = 2, 3


@register("missing-duplicate", source="arXiv:2207.02098, missing duplicate string")
@final
class MissingDuplicate(Task):
    """Predict the one hidden bit of a string of bits that is written twice.

    Options:
        symbols: Length of the sequence: both halves, and an empty symbol if it is odd.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=2)] = 10) -> None:
        self.symbols = symbols
        self.vocabulary, self.length = 4, symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform bits, write them twice, and hide one of them."""
        half, rows = self.symbols // 2, np.arange(batch)
        bits = random.integers(0, 2, (batch, half))
        positions = random.integers(0, 2 * half, batch)
        inputs_BT = np.full((batch, self.symbols), EMPTY)
        inputs_BT[:, : 2 * half] = np.concatenate([bits, bits], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT[rows, positions]
        inputs_BT[rows, positions] = HIDDEN
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Compare the halves; the target is the bit opposite the hidden one."""
        half = len(tokens) // 2
        for one, other in zip(tokens[:half], tokens[half : 2 * half], strict=True):
            if HIDDEN in (one, other):
                return [IGNORE] * (len(tokens) - 1) + [other if one == HIDDEN else one]
        return [IGNORE] * len(tokens)

    def token_to_str(self, token: int) -> str:
        """Bits as numbers, the hidden one as a question mark, the empty symbol as an underscore."""
        return "01?_"[token]
