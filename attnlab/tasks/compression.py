"""Compression: read a string, then write all of it without seeing what has been written.

    inputs   2  0  3  |  ·  ·
    targets  .  .  .  2  0  3

The input is a string of uniform letters and a marker. From the marker on, the targets are the letters of the string in
order. After the marker the input is dots only, so no written letter helps to predict the next one: a recurrence must
hold the whole string in the state that it has at the marker. Softmax attention can attend to the string itself, so for
it the task is copying by position. In ``copy``, the letters written so far are part of the input.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         compression.
Theirs   vocab_size -> alphabet + 1, seq_len -> symbols + 1.
Differs  theirs is an encoder with a separate decoder: the encoder's vector at the marker, plus a fixed code of the
         position, is the only input of a small network that writes the letter at that position, so the bottleneck is
         one vector for every architecture, and the marker is written too. Ours is one causal model: the bottleneck is
         the model's state, and the position follows from the number of dots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall_stream import seen_letter_accuracy


@register("compression", source="arXiv:2403.17844")
@final
class Compression(Task):
    """Write a whole string from memory, without seeing the letters written so far.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=1)] = 8, alphabet: Annotated[int, Field(ge=2)] = 16) -> None:
        self.symbols, self.alphabet = symbols, alphabet
        self.vocabulary, self.length = alphabet + 2, 2 * symbols
        self.chance = seen_letter_accuracy(alphabet, symbols)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the input continues with the marker and dots."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        inputs_BT = np.full((batch, self.length), self.alphabet + 1)
        inputs_BT[:, : self.symbols] = letters
        inputs_BT[:, self.symbols] = self.alphabet
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.symbols :] = letters
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """The letters before the marker are the targets from the marker on."""
        marker = list(tokens).index(self.alphabet)
        return [IGNORE] * marker + list(tokens[:marker])

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the marker as a bar, dots as dots."""
        return {self.alphabet: "|", self.alphabet + 1: "·"}.get(token, str(token))
