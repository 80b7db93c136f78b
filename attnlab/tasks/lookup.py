"""Lookup: given a string and a few letters that stand in it once, write the letters that follow them there.

    suffix  inputs   c  a  d  b  e  |  a  d  b
            answers  .  .  .  .  .  .  .  b  e

    prefix  inputs   a  d  |  c  a  d  b  e  |  b
            answers  .  .  .  .  .  .  .  .  b  e

The few letters, the n-gram, stand behind the string (suffix) or before it (prefix). Before it, a model that reads once
knows what to look for; behind it, it must have kept the string. Strings and the place of the n-gram are uniform among
those in which the n-gram occurs once.

Source   Jelassi et al., "Repeat after me", arXiv:2402.01032, and its code (prefix_ngram, suffix_ngram).
Theirs   n_gram -> gram, length_answer -> answer, vocab_size -> alphabet.
Differs  the n-gram occurs once; in their code it may occur again, and the first is meant. A fixed length, and one
         string in a sequence; theirs draws lengths, packs strings into a context, and has signs for begin and end.
Chance   of a guess that does not look at the string. A guess that looks at the string but not at the n-gram, and writes
         its most frequent letter, is right more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Tokens, no_targets, register
from attnlab.tasks.copying import Written


@register("lookup", source="arXiv:2402.01032, n-gram lookup")
@final
class Lookup(Written):
    """Find a few letters in a string, and write the letters that follow them.

    Options:
        symbols: Length of the string.
        gram: Letters to find.
        answer: Letters to write.
        alphabet: Letters to draw from.
        given: Whether the letters to find stand before the string (``prefix``) or behind it (``suffix``).
    """

    complexity = "symbols"
    intended_shortcut = "nearest context"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=2)] = 16,
        gram: Annotated[int, Field(ge=1)] = 2,
        answer: Annotated[int, Field(ge=1)] = 4,
        alphabet: Annotated[int, Field(ge=2)] = 26,
        given: Literal["prefix", "suffix"] = "suffix",
    ) -> None:
        if gram + answer > symbols:
            result = f"{gram} letters to find and {answer} to write are more than the {symbols} of the string."
            raise InvalidValueError(result, f"Use at least {gram + answer} symbols.", where="lookup")
        if symbols - gram > alphabet**gram:
            result = f"{gram} letters of {alphabet} are seldom alone in a string of {symbols}: "
            result += f"{symbols - gram} other places > {alphabet}^{gram} = {alphabet**gram}."
            fewest = next(letters for letters in range(alphabet, symbols) if letters**gram >= symbols - gram)
            hint = f"Use at most {alphabet**gram + gram} symbols, or an alphabet of at least {fewest}."
            raise InvalidValueError(result, hint, where="lookup")
        self.symbols, self.gram, self.answer, self.alphabet, self.given = symbols, gram, answer, alphabet, given
        self.vocabulary = alphabet + 1
        self.length = symbols + gram + answer + (given == "prefix")
        self.chance = 1 / alphabet

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Strings and what to find in them, the marker, and the answers without their last letter."""
        string, positions = self._drawn(random, batch)
        again = self._repeating(string, positions)
        while len(again):
            string[again], positions[again] = self._drawn(random, len(again))
            again = again[self._repeating(string[again], positions[again])]
        window = positions[:, None] + np.arange(self.gram + self.answer)
        gram, answer = np.split(np.take_along_axis(string, window, axis=1), [self.gram], axis=1)
        marker = np.full((batch, 1), self.alphabet)
        question = [string, marker, gram] if self.given == "suffix" else [gram, marker, string, marker]
        inputs_BT = np.concatenate([*question, answer[:, :-1]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -self.answer :] = answer
        return Batch(inputs_BT, targets_BT)

    def _drawn(self, random: np.random.Generator, batch: int) -> tuple[Tokens, Tokens]:
        """Strings, and where in each the letters to find begin."""
        string = random.integers(0, self.alphabet, (batch, self.symbols))
        return string, random.integers(0, self.symbols - self.gram - self.answer + 1, batch)

    def _repeating(self, string: Tokens, positions: Tokens) -> Tokens:
        """Rows in which what begins at the place occurs elsewhere, too."""
        windows = sliding_window_view(string, self.gram, axis=1)
        result = windows[np.arange(len(string)), positions]
        occurrences = (windows == result[:, None]).all(axis=2).sum(axis=1)
        return np.flatnonzero(occurrences > 1)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Walk along the string until the letters to find are met; what follows is due at the end."""
        bar = list(tokens).index(self.alphabet)
        if self.given == "suffix":
            string, wanted = tokens[:bar], tokens[bar + 1 : bar + 1 + self.gram]
        else:
            string, wanted = tokens[bar + 1 : bar + 1 + self.symbols], tokens[:bar]
        place = 0
        while string[place : place + self.gram] != wanted:
            place += 1
        due = string[place + self.gram : place + self.gram + self.answer]
        return [IGNORE] * (len(tokens) - self.answer) + list(due)
