"""Selective copying: write the letters of a sequence again, in their order, without the blanks between them.

    inputs   ·  c  ·  ·  a  d  |  ·  ·  ·
    answers  .  .  .  .  .  .  .  c  a  d

``symbols`` letters stand among length - 2 symbols - 1 blanks; after the marker comes one blank for each letter, and
there the letters are due. Letters are uniform over the ids 0 .. V - 3, with replacement; V - 2 is the blank, V - 1 the
marker. Where the letters stand:

    before    the default, as published: each blank goes before a letter
              drawn evenly, so the last letter always touches the marker
    anywhere  ours: all sets of places before the marker are equally likely

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures", arXiv:2403.17844, and its code (MAD,
         selective copying).
Theirs   num_tokens_to_copy -> symbols, seq_len -> length, vocab_size -> vocabulary.
Differs  in the default sizes only (theirs: 16 letters in 256 tokens). As there, and unlike in copy, the answer is not
         written into the input: a model has to know from its place alone which letter is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall import without_replacement


@register("selective-copy", source="arXiv:2403.17844, selective copying")
@final
class SelectiveCopy(Task):
    """Write the letters that stand among blanks again, in their order.

    Options:
        symbols: Letters to copy.
        length: Tokens of a sequence; more than twice the letters and one.
        vocabulary: Ids: letters, a blank and a marker.
        letters: Where letters stand among the blanks: ``before`` as published, ``anywhere`` evenly.
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
            result = f"{symbols} letters twice, a marker and a blank do not fit {length} tokens: {needed} > {length}."
            hint = f"Use at most {(length - 2) // 2} letters, or a length of at least {needed}."
            raise InvalidValueError(result, hint, where="selective-copy")
        self.symbols, self.length, self.vocabulary, self.letters = symbols, length, vocabulary, letters
        self.blank, self.marker = vocabulary - 2, vocabulary - 1
        self.chance = 1 / (vocabulary - 2)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Letters among blanks, the marker, and a blank for each letter."""
        letters = random.integers(0, self.vocabulary - 2, (batch, self.symbols))
        inputs_BT = np.full((batch, self.length), self.blank)
        inputs_BT[np.arange(batch)[:, None], self._places(random, batch)] = letters
        inputs_BT[:, -self.symbols - 1] = self.marker
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -self.symbols :] = letters
        return Batch(inputs_BT, targets_BT)

    def _places(self, random: np.random.Generator, batch: int) -> Tokens:
        """Where the letters stand, in rising order."""
        room = self.length - self.symbols - 1
        if self.letters == "anywhere":
            return np.sort(without_replacement(random, room, self.symbols, batch), axis=1)
        even = np.full(self.symbols, 1 / self.symbols)
        blanks = random.multinomial(room - self.symbols, even, batch)
        return np.cumsum(blanks, axis=1) + np.arange(self.symbols)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Collect letters up to the marker, then hand them out one by one."""
        stored: list[int] = []
        answers, answering = [], False
        for token in tokens:
            answers.append(stored.pop(0) if answering else IGNORE)
            if token == self.marker:
                answering = True
            elif token != self.blank:
                stored.append(token)
        return answers

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the blank as a dot, the marker as a bar."""
        return "|" if token == self.marker else "·" if token == self.blank else str(token)
