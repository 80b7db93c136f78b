"""Copying with a delay: at every position, tell which letter stood ``lag`` positions ago.

    y_t = x_{t - lag}                      lag = 2
    inputs   c  a  d  d  b  a
    answers  .  .  c  a  d  d

All letters are uniform and stand for themselves: no marker, no blank. The first ``lag`` positions ask nothing, and
the sequence is longer by as many, so that every level asks equally much.

Source   ours: the delay line, as the memory of recurrent networks is measured by. It is not the "copying memory"
         layout, in which a block of letters is due after a stretch of blanks; for that see copy and selective-copy.
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
    """At every position, tell which letter stood a fixed number of positions ago.

    Options:
        lag: How many positions ago.
        symbols: Letters asked; the sequence is longer by the lag.
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
        self.vocabulary, self.length, self.chance = alphabet, lag + symbols, 1 / alphabet
        self.intended_shortcut = "bigram" if lag == 1 else ""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform letters, and the same letters later."""
        inputs_BT = random.integers(0, self.alphabet, (batch, self.length))
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.lag :] = inputs_BT[:, : -self.lag]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Queue the letters; once more than ``lag`` wait, the first of them is due."""
        waiting: list[int] = []
        answers = []
        for token in tokens:
            waiting.append(token)
            answers.append(waiting.pop(0) if len(waiting) > self.lag else IGNORE)
        return answers
