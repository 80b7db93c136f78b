"""Compression: read a string, then write all of it without seeing what was written.

    inputs   2  0  3  |  ·  ·
    answers  .  .  .  2  0  3

A string of uniform letters and a marker, from which on its letters are due, one after the other. After the marker
only dots are read, so that no answer helps the next one: a recurrence must hold the whole string in the one state it
has at the marker. An attention that keeps every token need not: it may look back at the string, and for it this is
copying by place. ``copy`` differs in showing the letters written so far.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         compression.
Theirs   vocab_size -> alphabet + 1, seq_len -> symbols + 1.
Differs  theirs is an encoder with a decoder of its own: the encoder's vector at the marker, with a fixed code of the
         place added, goes alone through a small network that writes the letter of that place, so that the bottleneck
         is one vector for every architecture, and the marker is written too. Ours is one causal model: the bottleneck
         is whatever the model keeps, and places are told by the dots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register


@register("compression", source="arXiv:2403.17844")
@final
class Compression(Task):
    """Write a whole string from what was kept of it, seeing no letter again.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=1)] = 8, alphabet: Annotated[int, Field(ge=2)] = 16) -> None:
        self.symbols, self.alphabet = symbols, alphabet
        self.vocabulary, self.length, self.chance = alphabet + 2, 2 * symbols, 1 / alphabet

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Strings of letters, the marker, and dots."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        inputs_BT = np.full((batch, self.length), self.alphabet + 1)
        inputs_BT[:, : self.symbols] = letters
        inputs_BT[:, self.symbols] = self.alphabet
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.symbols :] = letters
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """What stands before the marker is due from the marker on."""
        marker = list(tokens).index(self.alphabet)
        return [IGNORE] * marker + list(tokens[:marker])

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the marker as a bar, dots as dots."""
        return {self.alphabet: "|", self.alphabet + 1: "·"}.get(token, str(token))
