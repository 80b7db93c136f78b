"""Counting: compare two counts, or keep one modulo m.

    majority  inputs   1  0  0  1  1      modulo 3  inputs   a  b  a  a
              running  1  0  0  0  1                running  1  1  2  0
              last     .  .  .  .  1                last     .  .  .  0

majority: are more than half of the bits so far ones? A tie is none. modular-counting: how many a's have stood so far,
modulo m? Bits and letters are uniform, and the answer is due on the symbol itself.

Source   majority: a task of the code of Arora et al., "Zoology", arXiv:2312.04927, at the last position and at every
         one. modular-counting: ours, parity (modulus 2) with more residues.
Differs  majority: no symbol ends the string.
Chance   of a uniform guess. Until strings are long, some answers are likelier: running majorities are 0 in three
         quarters of the strings at the second bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

Asked = Literal["running", "last"]


@register("majority", source="arXiv:2312.04927, code")
@final
class Majority(Task):
    """Tell whether more than half of the bits so far are ones.

    Options:
        bits: Length of the string.
        asked: ``running`` asks at every position, ``last`` only at the end.
    """

    complexity = "bits"

    def __init__(self, *, bits: Annotated[int, Field(ge=1)] = 8, asked: Asked = "running") -> None:
        self.bits, self.asked = bits, asked
        self.vocabulary, self.length, self.chance = 2, bits, 0.5

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform bits and their majorities."""
        inputs_BT = random.integers(0, 2, (batch, self.bits))
        lead = np.cumsum(2 * inputs_BT - 1, axis=1)
        return _due(inputs_BT, (lead > 0).astype(np.int64), self.asked)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Count ones and zeros of each beginning."""
        beginnings = [list(tokens[: place + 1]) for place in range(len(tokens))]
        answers = [int(seen.count(1) > seen.count(0)) for seen in beginnings]
        return answers if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + answers[-1:]


@register("modular-counting", source="ours, after arXiv:2207.02098, parity check")
@final
class ModularCounting(Task):
    """Count the a's so far, modulo m.

    Options:
        symbols: Length of the string.
        modulus: m, the number of answers.
        alphabet: Letters to draw from.
        asked: ``running`` asks at every position, ``last`` only at the end.
    """

    complexity = "symbols"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=1)] = 8,
        modulus: Annotated[int, Field(ge=2)] = 3,
        alphabet: Annotated[int, Field(ge=2, le=26)] = 2,
        asked: Asked = "running",
    ) -> None:
        self.symbols, self.modulus, self.alphabet, self.asked = symbols, modulus, alphabet, asked
        self.vocabulary, self.length = alphabet + modulus, symbols
        self.chance = 1 / min(modulus, symbols + 1)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform letters, the first of which is counted."""
        inputs_BT = random.integers(0, self.alphabet, (batch, self.symbols))
        counts = np.cumsum(inputs_BT == 0, axis=1)
        return _due(inputs_BT, self.alphabet + counts % self.modulus, self.asked)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Step round a ring at every a."""
        stands, answers = 0, []
        for token in tokens:
            if token == 0:
                stands = 0 if stands == self.modulus - 1 else stands + 1
            answers.append(self.alphabet + stands)
        return answers if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + answers[-1:]

    def token_to_str(self, token: int) -> str:
        """Letters as a, b, ...; counts as numbers."""
        return chr(ord("a") + token) if token < self.alphabet else str(token - self.alphabet)


def _due(inputs_BT: Tokens, answers_BT: Tokens, kind: Asked) -> Batch:
    """Every answer, or the last one."""
    if kind == "running":
        return Batch(inputs_BT, answers_BT)
    targets_BT = no_targets(inputs_BT)
    targets_BT[:, -1] = answers_BT[:, -1]
    return Batch(inputs_BT, targets_BT)
