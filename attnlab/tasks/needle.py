"""Needle: find a number that is hidden in filler tokens.

    inputs   f3 f0 f7  !  4  1 f7 f2 f5  ?  4
    targets   .  .  .  .  .  .  .  .  .  4  1

A haystack of ``haystack`` filler tokens contains a mark and a number of ``digits`` uniform digits. Their position is
uniform; the front and the end are included. A question mark follows, where the target is the first digit, and then the
digits without the last. Filler has ids of its own, so that digits occur nowhere else:

    random  uniform, the default
    cycle   the same ids one after the other, repeated, like the repeated
            sentences of the tests for language models

Source   ours: the passkey test for language models (a number in repeated sentences), as in the code of Mohtashami and
         Jaggi, "Landmark attention", arXiv:2305.16300, in tokens instead of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall_stream import seen_letter_accuracy

DIGITS = 10


@register("needle", source="ours, after arXiv:2305.16300")
@final
class Needle(Task):
    """Find a number in filler tokens and write it again.

    Options:
        haystack: Tokens of filler.
        digits: Length of the number.
        kinds: Number of filler ids.
        filler: How the filler tokens are drawn.
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
        self.chance = seen_letter_accuracy(DIGITS, digits)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw filler around the mark and its number; the input ends before the last digit."""
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
        """The filler tokens, B x haystack."""
        if self.filler == "random":
            return DIGITS + random.integers(0, self.kinds, (batch, self.haystack))
        return np.tile(DIGITS + np.arange(self.haystack) % self.kinds, (batch, 1))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """The digits after the mark are the targets from the question mark on."""
        mark, question = list(tokens).index(self.mark), list(tokens).index(self.question)
        return [IGNORE] * question + list(tokens[mark + 1 : mark + 1 + self.digits])

    def token_to_str(self, token: int) -> str:
        """Digits as numbers, filler as f0, f1, ..., the mark as !, the question mark as ?."""
        if token < DIGITS:
            return str(token)
        return {self.mark: "!", self.question: "?"}.get(token, f"f{token - DIGITS}")
