"""Histogram: how often does each letter of a string stand in it?

    after    inputs   c  a  c  c  b  |  c  a  c  c  b
             answers  .  .  .  .  .  .  3  1  3  3  1

    running  inputs   c  a  c  c  b
             answers  1  1  2  3  1

Every string has letter frequencies of its own, uniform over all that sum to one, so that all counts occur. ``after``
asks each letter again when the string is known; ``running`` asks how often it has stood so far, itself included.

Source   Weiss et al., "Thinking like transformers", arXiv:2106.06981 (histogram; the layout and the letters are ours).
Differs  theirs answers on the string itself, in an encoder, which sees what comes later.
Chance   of a uniform guess among the counts 1 .. symbols. Small counts are likelier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register


@register("histogram", source="arXiv:2106.06981, histogram")
@final
class Histogram(Task):
    """Tell how often each letter of a string stands in it.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
        asked: ``after`` asks each letter again, behind a marker; ``running`` asks how often it has stood so far.
    """

    complexity = "symbols"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=1)] = 8,
        alphabet: Annotated[int, Field(ge=2, le=26)] = 4,
        asked: Literal["after", "running"] = "after",
    ) -> None:
        self.symbols, self.alphabet, self.asked = symbols, alphabet, asked
        self.vocabulary = alphabet + 1 + symbols
        self.length = symbols if asked == "running" else 2 * symbols + 1
        self.chance = 1 / symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Letters by the frequencies of each string, and how many equal ones stand so far or at all."""
        letters = self._letters(random, batch)
        so_far = np.cumsum(letters[:, :, None] == np.arange(self.alphabet), axis=1)
        if self.asked == "running":
            return Batch(letters, self.alphabet + np.take_along_axis(so_far, letters[:, :, None], axis=2)[:, :, 0])
        marker = np.full((batch, 1), self.alphabet)
        inputs_BT = np.concatenate([letters, marker, letters], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.symbols + 1 :] = self.alphabet + np.take_along_axis(so_far[:, -1], letters, axis=1)
        return Batch(inputs_BT, targets_BT)

    def _letters(self, random: np.random.Generator, batch: int) -> Tokens:
        """Independent exponentials, divided by their sum, are uniform over all frequencies."""
        upper = np.cumsum(random.standard_exponential((batch, self.alphabet)), axis=1)
        drawn = random.random((batch, self.symbols)) * upper[:, -1:]
        return (drawn[:, :, None] >= upper[:, None, :-1]).sum(axis=2)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Keep a tally."""
        if self.asked == "running":
            tally: Counter[int] = Counter()
            answers = []
            for token in tokens:
                tally[token] += 1
                answers.append(self.alphabet + tally[token])
            return answers
        marker = list(tokens).index(self.alphabet)
        tally = Counter(tokens[:marker])
        return [IGNORE] * (marker + 1) + [self.alphabet + tally[token] for token in tokens[marker + 1 :]]

    def token_to_str(self, token: int) -> str:
        """Letters as a, b, ...; the marker as a bar; counts as numbers."""
        if token == self.alphabet:
            return "|"
        return chr(ord("a") + token) if token < self.alphabet else str(token - self.alphabet)
