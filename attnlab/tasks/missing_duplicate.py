"""Missing duplicate: a string of bits stands twice, one bit is hidden; which?

    inputs   0  1  1  0  0  1  ?  0          inputs   1  0  1  1  ?  1  _
    answers  .  .  .  .  .  .  .  1          answers  .  .  .  .  .  .  0

``symbols`` counts both halves. The hidden place is uniform over both of them; where it stands in the first half, the
second shows the bit, and the other way round. An odd number of symbols ends with an empty one.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (missing_duplicate_string).
Theirs   length -> symbols; the ids are theirs: 2 hides, 3 is empty.
Differs  the answer is due on the last symbol itself, without a placeholder. A length of 1, where theirs answers 1
         whatever is asked, is left out.
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
    """Tell the one hidden bit of a string of bits that stands twice.

    Options:
        symbols: Length of the sequence: both halves, and an empty symbol if it is odd.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=2)] = 10) -> None:
        self.symbols = symbols
        self.vocabulary, self.length, self.chance = 4, symbols, 0.5

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform bits twice, one of them hidden."""
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
        """Lay the halves side by side; the bit beside the hidden one is due."""
        half = len(tokens) // 2
        for one, other in zip(tokens[:half], tokens[half : 2 * half], strict=True):
            if HIDDEN in (one, other):
                return [IGNORE] * (len(tokens) - 1) + [other if one == HIDDEN else one]
        return [IGNORE] * len(tokens)

    def token_to_str(self, token: int) -> str:
        """Bits as numbers, the hidden one as a question mark, the empty one as a line."""
        return "01?_"[token]
