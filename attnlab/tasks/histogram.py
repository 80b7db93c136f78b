"""Histogram: how often does each letter occur in a string?

    after    inputs   c  a  c  c  b  |  c  a  c  c  b
             targets  .  .  .  .  .  .  3  1  3  3  1

    running  inputs   c  a  c  c  b
             targets  1  1  2  3  1

Every string has its own letter frequencies, uniform over all that sum to one, so that all counts occur. With ``after``,
the string is repeated after a marker and the targets are the counts in the whole string. With ``running``, the target
is the count so far, including the letter itself.

Source   Weiss et al., "Thinking like transformers", arXiv:2106.06981 (histogram; the layout and the letters are ours).
Differs  theirs has its targets at the string itself, in an encoder, which also attends to later positions.
Chance   small counts are more frequent than others, so that the best guess is a constant.
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
    """Count how often each letter occurs in a string.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
        asked: ``after`` repeats the string after a marker; ``running`` counts the occurrences so far.
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

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw letters with the frequencies of each string, and count them."""
        letters = self._letters(random, batch)
        running = np.cumsum(letters[:, :, None] == np.arange(self.alphabet), axis=1)
        if self.asked == "running":
            return Batch(letters, self.alphabet + np.take_along_axis(running, letters[:, :, None], axis=2)[:, :, 0])
        marker = np.full((batch, 1), self.alphabet)
        inputs_BT = np.concatenate([letters, marker, letters], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.symbols + 1 :] = self.alphabet + np.take_along_axis(running[:, -1], letters, axis=1)
        return Batch(inputs_BT, targets_BT)

    def _letters(self, random: np.random.Generator, batch: int) -> Tokens:
        """Draw letters; exponential variables divided by their sum are uniform over all frequencies."""
        upper = np.cumsum(random.standard_exponential((batch, self.alphabet)), axis=1)
        drawn = random.random((batch, self.symbols)) * upper[:, -1:]
        return (drawn[:, :, None] >= upper[:, None, :-1]).sum(axis=2)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Count letter by letter."""
        if self.asked == "running":
            occurrences: Counter[int] = Counter()
            targets = []
            for token in tokens:
                occurrences[token] += 1
                targets.append(self.alphabet + occurrences[token])
            return targets
        marker = list(tokens).index(self.alphabet)
        occurrences = Counter(tokens[:marker])
        return [IGNORE] * (marker + 1) + [self.alphabet + occurrences[token] for token in tokens[marker + 1 :]]

    def token_to_str(self, token: int) -> str:
        """Letters as a, b, ...; the marker as a bar; counts as numbers."""
        if token == self.alphabet:
            return "|"
        return chr(ord("a") + token) if token < self.alphabet else str(token - self.alphabet)
