"""Lookup: find an n-gram that occurs once in a string, and write the letters that follow it.

    suffix  inputs   c  a  d  b  e  |  a  d  b
            targets  .  .  .  .  .  .  .  b  e

    prefix  inputs   a  d  |  c  a  d  b  e  |  b
            targets  .  .  .  .  .  .  .  .  b  e

The n-gram is given after the string (suffix) or before it (prefix). With a prefix, a model that reads the sequence once
knows which n-gram to find. With a suffix, it must have stored the string. Strings and the position of the n-gram are
uniform among those in which the n-gram occurs once.

Source   Jelassi et al., "Repeat after me", arXiv:2402.01032, and its code (prefix_ngram, suffix_ngram).
Theirs   n_gram -> gram, length_answer -> answer, vocab_size -> alphabet.
Differs  the n-gram occurs once; in their code it may occur again, and the first occurrence counts. The length is fixed,
         and a sequence has one string; theirs draws lengths, packs strings into a context, and has tokens for begin
         and end.
Chance   that of a guess among the letters of the string. A guess that predicts the most frequent letter of the string
         has a higher accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Tokens, no_targets, register
from attnlab.tasks.copying import MarkerTask


@register("lookup", source="arXiv:2402.01032, n-gram lookup")
@final
class Lookup(MarkerTask):
    """Find an n-gram in a string, and write the letters that follow it.

    Options:
        symbols: Length of the string.
        gram: Letters of the n-gram.
        answer: Letters to write after the n-gram.
        alphabet: Letters to draw from.
        given: Whether the n-gram is given before the string (``prefix``) or after it (``suffix``).
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
            problem = f"An n-gram of {gram} and an answer of {answer} letters do not fit a string of {symbols} letters."
            raise InvalidValueError(problem, f"Use at least {gram + answer} symbols.", where="lookup")
        if symbols - gram > alphabet**gram:
            problem = f"An n-gram of {gram} letters of {alphabet} is rarely unique in a string of {symbols} letters: "
            problem += f"{symbols - gram} other positions > {alphabet}^{gram} = {alphabet**gram}."
            fewest = next(letters for letters in range(alphabet, symbols) if letters**gram >= symbols - gram)
            hint = f"Use at most {alphabet**gram + gram} symbols, or an alphabet of at least {fewest}."
            raise InvalidValueError(problem, hint, where="lookup")
        self.symbols, self.gram, self.answer, self.alphabet, self.given = symbols, gram, answer, alphabet, given
        self.vocabulary = alphabet + 1
        self.length = symbols + gram + answer + (given == "prefix")

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings with their n-grams; the input ends before the last letter of the answer."""
        string, positions = self._draw(random, batch)
        again = self._repeating(string, positions)
        while len(again):
            string[again], positions[again] = self._draw(random, len(again))
            again = again[self._repeating(string[again], positions[again])]
        window = positions[:, None] + np.arange(self.gram + self.answer)
        gram, answer = np.split(np.take_along_axis(string, window, axis=1), [self.gram], axis=1)
        marker = np.full((batch, 1), self.alphabet)
        question = [string, marker, gram] if self.given == "suffix" else [gram, marker, string, marker]
        inputs_BT = np.concatenate([*question, answer[:, :-1]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -self.answer :] = answer
        return Batch(inputs_BT, targets_BT)

    def _draw(self, random: np.random.Generator, batch: int) -> tuple[Tokens, Tokens]:
        """Draw strings, and the start of the n-gram in each."""
        string = random.integers(0, self.alphabet, (batch, self.symbols))
        return string, random.integers(0, self.symbols - self.gram - self.answer + 1, batch)

    def _repeating(self, string: Tokens, positions: Tokens) -> Tokens:
        """Indices of the rows in which the n-gram occurs more than once."""
        windows = sliding_window_view(string, self.gram, axis=1)
        ngrams = windows[np.arange(len(string)), positions]
        occurrences = (windows == ngrams[:, None]).all(axis=2).sum(axis=1)
        return np.flatnonzero(occurrences > 1)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Scan the string for the n-gram; the letters after it are the targets."""
        bar = list(tokens).index(self.alphabet)
        if self.given == "suffix":
            string, ngram = tokens[:bar], tokens[bar + 1 : bar + 1 + self.gram]
        else:
            string, ngram = tokens[bar + 1 : bar + 1 + self.symbols], tokens[:bar]
        start = 0
        while string[start : start + self.gram] != ngram:
            start += 1
        following = string[start + self.gram : start + self.gram + self.answer]
        return [IGNORE] * (len(tokens) - self.answer) + list(following)
