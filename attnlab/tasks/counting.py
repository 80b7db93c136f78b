"""Counting: compare two counts, or count modulo m.

    majority  inputs   1  0  0  1  1      modulo 3  inputs   a  b  a  a
              running  1  0  0  0  1                running  1  1  2  0
              last     .  .  .  .  1                last     .  .  .  0

majority: are more than half of the bits so far ones? A tie counts as no. modular-counting: how many a's are there so
far, modulo m? Bits and letters are uniform, and the target is at the symbol itself.

Source   majority: a task of the code of Arora et al., "Zoology", arXiv:2312.04927, at the last position and at every
         one. modular-counting: ours, parity (modulus 2) with more residues.
Differs  majority: the string has no end symbol.
Chance   of a uniform guess. In short strings some targets are more frequent: running majorities are 0 in three quarters
         of the strings at the second bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

Supervision = Literal["running", "last"]


@register("majority", source="arXiv:2312.04927, code")
@final
class Majority(Task):
    """Tell whether more than half of the bits so far are ones.

    Options:
        bits: Length of the string.
        asked: Supervised positions: ``running`` for all, ``last`` for the last one only.
    """

    complexity = "bits"

    def __init__(self, *, bits: Annotated[int, Field(ge=1)] = 8, asked: Supervision = "running") -> None:
        self.bits, self.asked = bits, asked
        self.vocabulary, self.length = 2, bits

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform bits; the targets are their majorities."""
        inputs_BT = random.integers(0, 2, (batch, self.bits))
        lead = np.cumsum(2 * inputs_BT - 1, axis=1)
        return _supervised(inputs_BT, (lead > 0).astype(np.int64), self.asked)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Count ones and zeros of each prefix."""
        prefixes = [list(tokens[: position + 1]) for position in range(len(tokens))]
        targets = [int(prefix.count(1) > prefix.count(0)) for prefix in prefixes]
        return targets if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + targets[-1:]


@register("modular-counting", source="ours, after arXiv:2207.02098, parity check")
@final
class ModularCounting(Task):
    """Count the letters a so far, modulo m.

    Options:
        symbols: Length of the string.
        modulus: m, the number of different targets.
        alphabet: Letters to draw from.
        asked: Supervised positions: ``running`` for all, ``last`` for the last one only.
    """

    complexity = "symbols"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=1)] = 8,
        modulus: Annotated[int, Field(ge=2)] = 3,
        alphabet: Annotated[int, Field(ge=2, le=26)] = 2,
        asked: Supervision = "running",
    ) -> None:
        self.symbols, self.modulus, self.alphabet, self.asked = symbols, modulus, alphabet, asked
        self.vocabulary, self.length = alphabet + modulus, symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform letters and count the first one."""
        inputs_BT = random.integers(0, self.alphabet, (batch, self.symbols))
        counts = np.cumsum(inputs_BT == 0, axis=1)
        return _supervised(inputs_BT, self.alphabet + counts % self.modulus, self.asked)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Increment a counter at every a; it wraps around at m."""
        count, targets = 0, []
        for token in tokens:
            if token == 0:
                count = 0 if count == self.modulus - 1 else count + 1
            targets.append(self.alphabet + count)
        return targets if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + targets[-1:]

    def token_to_str(self, token: int) -> str:
        """Letters as a, b, ...; counts as numbers."""
        return chr(ord("a") + token) if token < self.alphabet else str(token - self.alphabet)


def _supervised(inputs_BT: Tokens, running_BT: Tokens, asked: Supervision) -> Batch:
    """Build a batch with all running targets, or with the last one only."""
    if asked == "running":
        return Batch(inputs_BT, running_BT)
    targets_BT = no_targets(inputs_BT)
    targets_BT[:, -1] = running_BT[:, -1]
    return Batch(inputs_BT, targets_BT)
