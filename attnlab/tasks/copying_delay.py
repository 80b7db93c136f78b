"""Copying with a delay: at every position, write the letter ``lag`` positions earlier.

    y_t = x_{t - lag}                      lag = 2
    inputs   c  a  d  d  b  a
    targets  .  .  c  a  d  d

All letters are uniform. There is no marker and no blank. The first ``lag`` positions are not supervised, and the
sequence is longer by as many, so that every level has the same number of supervised positions.

Source   ours: the delay line, a usual measure of the memory of recurrent networks. It is not the "copying memory"
         layout, in which a block of letters is the target after a number of blanks; for that see copy and
         selective-copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register


@register("copy-delay", source="ours")
@final
class CopyDelay(Task):
    """At every position, write the letter a fixed number of positions earlier.

    Options:
        lag: Distance to the letter, in positions.
        symbols: Supervised positions; the sequence is longer by the lag.
        alphabet: Letters to draw from.
    """

    complexity = "lag"

    def __init__(
        self,
        *,
        lag: Annotated[int, Field(ge=1)] = 4,
        symbols: Annotated[int, Field(ge=1)] = 32,
        alphabet: Annotated[int, Field(ge=2)] = 16,
    ) -> None:
        self.lag, self.symbols, self.alphabet = lag, symbols, alphabet
        self.vocabulary, self.length = alphabet, lag + symbols
        self.intended_shortcut = "bigram" if lag == 1 else ""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform letters; the targets are the same letters, shifted."""
        inputs_BT = random.integers(0, self.alphabet, (batch, self.length))
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.lag :] = inputs_BT[:, : -self.lag]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Queue the letters; once more than ``lag`` are queued, the first of them is the target."""
        queue: list[int] = []
        targets = []
        for token in tokens:
            queue.append(token)
            targets.append(queue.pop(0) if len(queue) > self.lag else IGNORE)
        return targets
