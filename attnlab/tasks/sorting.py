"""Sorting: write the letters of a string in another order, after a marker.

    bucket-sort  inputs   3  0  4  0  1  |  0  0  1  3
                 targets  .  .  .  .  .  0  0  1  3  4

    odds-first   inputs   0  1  1  0  1  |  0  1  1  1
                 targets  .  .  .  .  .  0  1  1  1  0

    unique       inputs   3  0  3  4  0  |  3  0
                 targets  .  .  .  .  .  3  0  4

bucket-sort: uniform letters, in rising order. odds-first: first the letters at odd positions, then those at even ones,
with positions counted from 1, or from 0. unique: each letter of the string once, in the order of first appearance. The
positions of first appearance are uniform, and every other position repeats one of the letters before it, uniformly.

Source   bucket-sort, odds-first: Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and
         its code. unique: ours.
Theirs   length -> symbols, vocab_size -> alphabet. odds-first: its text counts places from 1, its code from 0.
Differs  bucket-sort, odds-first: theirs read the answer at one placeholder for each letter, and see no letter of it.
         Here the answer is written out: its letters but the last are in the input after the marker.
Chance   bucket-sort: of the most frequent letter at each position; the published one is 1/alphabet. A guess that
         repeats the letter just written is wrong only once for each different letter, so its token accuracy is high on
         a long string: read the exact match too. odds-first, unique: of a guess among the letters of the string.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, register
from attnlab.tasks.copying import MarkerTask, write_out
from attnlab.tasks.recall import without_replacement
from attnlab.tasks.recall_stream import seen_letter_accuracy

Symbols = Annotated[int, Field(ge=1)]
Alphabet = Annotated[int, Field(ge=2)]


@register("bucket-sort", source="arXiv:2207.02098, bucket sort")
@final
class BucketSort(MarkerTask):
    """Write the letters of a string in rising order, after a marker.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Symbols = 10, alphabet: Alphabet = 5) -> None:
        self.symbols, self.alphabet = symbols, alphabet
        self.vocabulary, self.length = alphabet + 1, 2 * symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the input ends before the last of the sorted letters."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        return write_out(letters, self.alphabet, np.sort(letters, axis=1))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Put each letter in its bucket, then empty the buckets in order."""
        marker = list(tokens).index(self.alphabet)
        buckets: list[list[int]] = [[] for _ in range(self.alphabet)]
        for letter in tokens[:marker]:
            buckets[letter].append(letter)
        return [IGNORE] * marker + [letter for bucket in buckets for letter in bucket]


@register("odds-first", source="arXiv:2207.02098, odds first")
@final
class OddsFirst(MarkerTask):
    """Write the letters at odd positions of a string, then those at even positions, after a marker.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
        counted_from: Number of the first position: 1 as in the text of the source, 0 as in its code.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Symbols = 10, alphabet: Alphabet = 2, counted_from: Literal[0, 1] = 1) -> None:
        self.symbols, self.alphabet, self.counted_from = symbols, alphabet, counted_from
        self.vocabulary, self.length = alphabet + 1, 2 * symbols
        self.chance = seen_letter_accuracy(alphabet, symbols)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the input ends before the last of the reordered letters."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        odds, evens = letters[:, 1 - self.counted_from :: 2], letters[:, self.counted_from :: 2]
        return write_out(letters, self.alphabet, np.concatenate([odds, evens], axis=1))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Split the letters by the number of their position."""
        marker = list(tokens).index(self.alphabet)
        parts: dict[int, list[int]] = {1: [], 0: []}
        for number, letter in enumerate(tokens[:marker], start=self.counted_from):
            parts[number % 2].append(letter)
        return [IGNORE] * marker + parts[1] + parts[0]


@register("unique", source="ours")
@final
class Unique(MarkerTask):
    """Write each letter of a string once, in the order in which they first appear, after a marker.

    Options:
        symbols: Length of the string.
        distinct: Number of different letters in each string.
        alphabet: Letters to draw from.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Symbols = 16, distinct: Symbols = 8, alphabet: Alphabet = 32) -> None:
        if distinct > symbols or distinct > alphabet:
            most = min(symbols, alphabet)
            size = f"a string of {symbols}" if symbols <= alphabet else f"an alphabet of {alphabet}"
            raise InvalidValueError(
                f"{distinct} different letters do not fit {size}: {distinct} > {most}.",
                f"Use at most {most}.",
                where="unique",
            )
        self.symbols, self.distinct, self.alphabet = symbols, distinct, alphabet
        self.vocabulary, self.length = alphabet + 1, symbols + distinct
        self.chance = 1 / distinct

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the input ends before the last of the different letters."""
        answer = without_replacement(random, self.alphabet, self.distinct, batch)
        first = np.zeros((batch, self.symbols), dtype=np.int64)
        first[:, 0] = 1
        later = 1 + without_replacement(random, self.symbols - 1, self.distinct - 1, batch)
        np.put_along_axis(first, later, 1, axis=1)
        seen = np.cumsum(first, axis=1)
        which = np.where(first, seen - 1, random.integers(0, seen))
        return write_out(np.take_along_axis(answer, which, axis=1), self.alphabet, answer)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Go through the string and collect each letter that is not collected yet."""
        marker = list(tokens).index(self.alphabet)
        collected: list[int] = []
        for letter in tokens[:marker]:
            if letter not in collected:
                collected.append(letter)
        return [IGNORE] * marker + collected
