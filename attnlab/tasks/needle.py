"""Needle: find a number that stands somewhere in filler.

    inputs   f3 f0 f7  !  4  1 f7 f2 f5  ?  4
    answers   .  .  .  .  .  .  .  .  .  4  1

A haystack of ``haystack`` filler tokens, in which a mark and a number of ``digits`` uniform digits stand at a uniform
place, in front and at the end included; then a question mark, on which the first digit is due, and the digits but the
last. Filler has ids of its own, so that digits stand nowhere else:

    random  uniform, the default
    cycle   the same ids one after the other, again and again, as the
            repeated sentences of the tests for language models

Source   ours: the passkey test for language models (a number in repeated sentences), as in the code of Mohtashami and
         Jaggi, "Landmark attention", arXiv:2305.16300, in tokens instead of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

DIGITS = 10


@register("needle", source="ours, after arXiv:2305.16300")
@final
class Needle(Task):
    """Find a number in filler and write it again.

    Options:
        haystack: Tokens of filler.
        digits: Length of the number.
        kinds: Ids of filler.
        filler: What the haystack is made of.
    """

    complexity = "haystack"

    def __init__(
        self,
        *,
        haystack: Annotated[int, Field(ge=1)] = 32,
        digits: Annotated[int, Field(ge=1)] = 4,
        kinds: Annotated[int, Field(ge=1)] = 16,
        filler: Literal["random", "cycle"] = "random",
    ) -> None:
        self.haystack, self.digits, self.kinds, self.filler = haystack, digits, kinds, filler
        self.mark, self.question = DIGITS + kinds, DIGITS + kinds + 1
        self.vocabulary = DIGITS + kinds + 2
        self.length = haystack + 2 * digits + 1
        self.chance = 1 / DIGITS

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Filler around the mark and its number, the question, and the number without its last digit."""
        number = random.integers(0, DIGITS, (batch, self.digits))
        needle = np.concatenate([np.full((batch, 1), self.mark), number], axis=1)
        size, rows = self.haystack + self.digits + 1, np.arange(batch)[:, None]
        positions = random.integers(0, self.haystack + 1, (batch, 1)) + np.arange(self.digits + 1)
        inputs_BT = np.full((batch, self.length), self.question)
        filled = np.ones((batch, size), dtype=np.bool_)
        filled[rows, positions] = False
        inputs_BT[:, :size][filled] = self._filler(random, batch).ravel()
        inputs_BT[rows, positions] = needle
        inputs_BT[:, size + 1 :] = number[:, :-1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, size:] = number
        return Batch(inputs_BT, targets_BT)

    def _filler(self, random: np.random.Generator, batch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """The haystack without the needle, B x haystack."""
        if self.filler == "random":
            return DIGITS + random.integers(0, self.kinds, (batch, self.haystack))
        return np.tile(DIGITS + np.arange(self.haystack) % self.kinds, (batch, 1))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """What stands after the mark is due from the question on."""
        result, question = list(tokens).index(self.mark), list(tokens).index(self.question)
        return [IGNORE] * question + list(tokens[result + 1 : result + 1 + self.digits])

    def token_to_str(self, token: int) -> str:
        """Digits as they are, filler as f0, f1, ..., the mark as !, the question as ?."""
        if token < DIGITS:
            return str(token)
        return {self.mark: "!", self.question: "?"}.get(token, f"f{token - DIGITS}")
