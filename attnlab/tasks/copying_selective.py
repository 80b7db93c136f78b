"""Selective copying: write the letters of a sequence again, in their order, without the blanks between them.

    inputs   ·  c  ·  ·  a  d  |  ·  ·  ·
    targets  .  .  .  .  .  .  .  c  a  d

``symbols`` letters are mixed with length - 2 symbols - 1 blanks. After the marker there is one blank for each letter,
and the targets there are the letters. Letters are uniform over the ids 0 .. V - 3, with replacement; V - 2 is the
blank, V - 1 the marker. The positions of the letters:

    before    the default, as published: each blank is inserted before a
              uniformly drawn letter, so the last letter is always next to
              the marker
    anywhere  ours: all sets of positions before the marker are equally likely

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures", arXiv:2403.17844, and its code (MAD,
         selective copying).
Theirs   num_tokens_to_copy -> symbols, seq_len -> length, vocab_size -> vocabulary.
Differs  in the default sizes only (theirs: 16 letters in 256 tokens). As there, and unlike in copy, the output is not
         part of the input: which letter is the target follows from the position alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall import without_replacement
from attnlab.tasks.recall_stream import seen_letter_accuracy


@register("selective-copy", source="arXiv:2403.17844, selective copying")
@final
class SelectiveCopy(Task):
    """Write the letters of a sequence with blanks again, in order.

    Options:
        symbols: Letters to copy.
        length: Tokens of a sequence, more than 2 symbols + 1.
        vocabulary: Number of token ids: letters, a blank and a marker.
        letters: Positions of the letters: ``before`` as published, ``anywhere`` uniform.
    """

    complexity = "symbols"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=1)] = 4,
        length: Annotated[int, Field(ge=4)] = 64,
        vocabulary: Annotated[int, Field(ge=4)] = 16,
        letters: Literal["before", "anywhere"] = "before",
    ) -> None:
        if 2 * symbols + 1 >= length:
            needed = 2 * symbols + 2
            problem = f"{symbols} letters twice, a marker and a blank do not fit {length} tokens: {needed} > {length}."
            hint = f"Use at most {(length - 2) // 2} letters, or a length of at least {needed}."
            raise InvalidValueError(problem, hint, where="selective-copy")
        self.symbols, self.length, self.vocabulary, self.letters = symbols, length, vocabulary, letters
        self.blank, self.marker = vocabulary - 2, vocabulary - 1
        self.chance = seen_letter_accuracy(vocabulary - 2, symbols)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw letters and their positions; the input continues with the marker and a blank for each letter."""
        letters = random.integers(0, self.vocabulary - 2, (batch, self.symbols))
        inputs_BT = np.full((batch, self.length), self.blank)
        inputs_BT[np.arange(batch)[:, None], self._letter_positions(random, batch)] = letters
        inputs_BT[:, -self.symbols - 1] = self.marker
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -self.symbols :] = letters
        return Batch(inputs_BT, targets_BT)

    def _letter_positions(self, random: np.random.Generator, batch: int) -> Tokens:
        """Draw the positions of the letters, B x symbols, in ascending order."""
        available = self.length - self.symbols - 1
        if self.letters == "anywhere":
            return np.sort(without_replacement(random, available, self.symbols, batch), axis=1)
        uniform = np.full(self.symbols, 1 / self.symbols)
        blanks = random.multinomial(available - self.symbols, uniform, batch)
        return np.cumsum(blanks, axis=1) + np.arange(self.symbols)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Collect letters up to the marker, then write them one by one."""
        letters: list[int] = []
        targets, after_marker = [], False
        for token in tokens:
            targets.append(letters.pop(0) if after_marker else IGNORE)
            if token == self.marker:
                after_marker = True
            elif token != self.blank:
                letters.append(token)
        return targets

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the blank as a dot, the marker as a bar."""
        return "|" if token == self.marker else "·" if token == self.blank else str(token)
