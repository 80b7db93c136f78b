"""Indirect indexing: find a letter of a string, go so many places on, and predict the letter there.

    inputs   b  K  a  Z  c  ,  a  ,  +2
    targets  .  .  .  .  .  .  .  .  c

The string has distinct letters of a .. z and A .. Z in uniform order. The source is uniform among them. The shift is
uniform among those from ``-shift`` to ``shift`` that stay inside the string; 0 is one of them. So one token tells what
to look for, a letter, and another one where the answer is, a distance. Chance is the letter at the likeliest place: if
the string is longer than the shifts reach, its places are answers with different probabilities.

Source   Gopalakrishnan et al., "Decoupling the what and where with polar coordinate positional embeddings",
         arXiv:2509.10534, appendix A.1.
Theirs   20 .. 40 letters, shifts up to 15.
Differs  the shift is one token; how theirs is written we do not know.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall import without_replacement

ALPHABET = string.ascii_letters
COMMA = len(ALPHABET)


@register("indirect-indexing", source="arXiv:2509.10534, appendix A.1")
@final
class IndirectIndexing(Task):
    """Predict the letter that stands a given number of places from a given letter.

    Options:
        letters: Length of the string of distinct letters.
        shift: The largest distance, to either side.
    """

    complexity = "letters"
    chance_guess = "the letter at the likeliest place"

    def __init__(
        self,
        *,
        letters: Annotated[int, Field(ge=2, le=len(ALPHABET))] = 8,
        shift: Annotated[int, Field(ge=1)] = 15,
    ) -> None:
        self.letters, self.shift = letters, shift
        self.vocabulary = COMMA + 1 + 2 * shift + 1
        self.length = letters + 4
        self.shares = _place_shares(letters, shift)
        self.chance = float(self.shares.max())

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings, sources and shifts that stay inside."""
        rows = np.arange(batch)
        string_BN = without_replacement(random, COMMA, self.letters, batch)
        source = random.integers(0, self.letters, batch)
        lowest, highest = np.maximum(-source, -self.shift), np.minimum(self.letters - 1 - source, self.shift)
        shift = random.integers(lowest, highest + 1)
        commas = np.full(batch, COMMA)
        question = np.stack([commas, string_BN[rows, source], commas, COMMA + 1 + self.shift + shift], axis=1)
        inputs_BT = np.concatenate([string_BN, question], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = string_BN[rows, source + shift]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read the words: look the source up in the string and count from there."""
        words = [self.token_to_str(token) for token in tokens]
        text = "".join(words[: words.index(",")])
        answer = text[text.index(words[-3]) + int(words[-1])]
        return [IGNORE] * (len(tokens) - 1) + [ALPHABET.index(answer)]

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens:
        """The letter at the place that is the answer most often."""
        return batch.inputs_BT[:, int(self.shares.argmax())]

    def token_to_str(self, token: int) -> str:
        """Letters, the comma, and shifts with their sign."""
        return (ALPHABET + ",")[token] if token <= COMMA else f"{token - COMMA - 1 - self.shift:+d}"


def _place_shares(letters: int, shift: int) -> NDArray[np.float64]:
    """The probability that the answer is at each place of the string."""
    places = np.arange(letters)
    near = np.abs(places[:, None] - places) <= shift
    return np.asarray((near / near.sum(axis=1, keepdims=True)).mean(axis=0))
