"""Counting: compare two counts, or count modulo m.

    majority  inputs   1  0  0  1  1      modulo 3  inputs   a  b  a  a
              running  1  0  0  0  1                running  1  1  2  0
              last     .  .  .  .  1                last     .  .  .  0

majority: are more than half of the bits so far ones? A tie counts as no, or as yes with ``ties: largest``. With an
``alphabet`` of more than two letters the target is the most frequent letter so far, and of equally frequent ones the
smallest or the largest. ``ties: broken`` leaves none: where the last position has a tie, its smallest letter is the
target, and the first letter of the string that is another one becomes that letter too; it needs ``asked: last``.
modular-counting: how many a's are there so far, modulo m? Bits and letters are uniform, and the target is at the symbol
itself.

Source   majority: tasks of the code of Arora et al., "Zoology", arXiv:2312.04927: majority is ``asked: last``,
         cumulative_majority is ``asked: running, ties: largest``, vocab_majority is ``asked: last, ties: broken`` with
         an alphabet of vocab_size - 1. modular-counting: ours, parity (modulus 2) with more residues.
Differs  majority: the default is neither of theirs, running majorities where a tie is 0, as in their majority; their
         cumulative one has 1 there. At ``last`` the string has no end symbol, and letters are counted from 0.
Chance   of the best blind guess. In short strings some targets are more frequent: running majorities are 0 in three
         quarters of the strings at the second bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

Supervision = Literal["running", "last"]
Ties = Literal["smallest", "largest", "broken"]


@register("majority", source="arXiv:2312.04927, code")
@final
class Majority(Task):
    """Tell whether more than half of the bits so far are ones.

    Options:
        bits: Length of the string.
        asked: Supervised positions: ``running`` for all, ``last`` for the last one only.
        alphabet: Letters to draw from; the target is the most frequent one.
        ties: The target among equally frequent letters: ``smallest`` or ``largest``; ``broken`` changes one letter of
            the string, so that the smallest of them is more frequent.
    """

    complexity = "bits"

    def __init__(
        self,
        *,
        bits: Annotated[int, Field(ge=1)] = 8,
        asked: Supervision = "running",
        alphabet: Annotated[int, Field(ge=2, le=256)] = 2,
        ties: Ties = "smallest",
    ) -> None:
        if ties == "broken" and asked == "running":
            problem = "A string whose ties are broken at every position is not uniform at any."
            raise InvalidValueError(problem, "Use asked=last, or ties=smallest or largest.", where="majority")
        self.bits, self.asked, self.ties = bits, asked, ties
        self.vocabulary, self.length = alphabet, bits

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform letters; the targets are the most frequent ones."""
        inputs_BT = random.integers(0, self.vocabulary, (batch, self.bits))
        if self.ties == "broken":
            _break_ties(inputs_BT, self.vocabulary)
        # One letter after the other, so that memory does not grow with the alphabet.
        most_BT, target_BT = np.zeros_like(inputs_BT), np.zeros_like(inputs_BT)
        for letter in range(self.vocabulary):
            count_BT = np.cumsum(inputs_BT == letter, axis=1)
            wins_BT = count_BT >= most_BT if self.ties == "largest" else count_BT > most_BT
            most_BT, target_BT = np.where(wins_BT, count_BT, most_BT), np.where(wins_BT, letter, target_BT)
        return _supervised(inputs_BT, target_BT, self.asked)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Count the letters of each prefix."""
        targets = []
        for end in range(1, len(tokens) + 1):
            counts = Counter(tokens[:end])
            tied = [letter for letter, count in counts.items() if count == max(counts.values())]
            targets.append(max(tied) if self.ties == "largest" else min(tied))
        return targets if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + targets[-1:]


def _break_ties(letters_BT: Tokens, alphabet: int) -> None:
    """Where several letters are the most frequent, turn the first one that is not the smallest of them into it."""
    counts_BA = np.stack([(letters_BT == letter).sum(axis=1) for letter in range(alphabet)], axis=1)
    smallest_B = counts_BA.argmax(axis=1)
    tied_B = (counts_BA == counts_BA.max(axis=1, keepdims=True)).sum(axis=1) > 1
    other_B = (letters_BT != smallest_B[:, None]).argmax(axis=1)
    letters_BT[tied_B, other_B[tied_B]] = smallest_B[tied_B]


@register("modular-counting", source="ours, after arXiv:2207.02098, parity check")
@final
class ModularCounting(Task):
    """Count the letters a so far, modulo m.

    Options:
        symbols: Length of the string.
        modulus: m, the number of different targets.
        alphabet: Letters to draw from.
        asked: Supervised positions: ``running`` for all, ``last`` for the last one only.
    """

    complexity = "symbols"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=1)] = 8,
        modulus: Annotated[int, Field(ge=2)] = 3,
        alphabet: Annotated[int, Field(ge=2, le=26)] = 2,
        asked: Supervision = "running",
    ) -> None:
        self.symbols, self.modulus, self.alphabet, self.asked = symbols, modulus, alphabet, asked
        self.vocabulary, self.length = alphabet + modulus, symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform letters and count the first one."""
        inputs_BT = random.integers(0, self.alphabet, (batch, self.symbols))
        counts = np.cumsum(inputs_BT == 0, axis=1)
        return _supervised(inputs_BT, self.alphabet + counts % self.modulus, self.asked)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Increment a counter at every a; it wraps around at m."""
        count, targets = 0, []
        for token in tokens:
            if token == 0:
                count = 0 if count == self.modulus - 1 else count + 1
            targets.append(self.alphabet + count)
        return targets if self.asked == "running" else [IGNORE] * (len(tokens) - 1) + targets[-1:]

    def token_to_str(self, token: int) -> str:
        """Letters as a, b, ...; counts as numbers."""
        return chr(ord("a") + token) if token < self.alphabet else str(token - self.alphabet)


def _supervised(inputs_BT: Tokens, running_BT: Tokens, asked: Supervision) -> Batch:
    """Build a batch with all running targets, or with the last one only."""
    if asked == "running":
        return Batch(inputs_BT, running_BT)
    targets_BT = no_targets(inputs_BT)
    targets_BT[:, -1] = running_BT[:, -1]
    return Batch(inputs_BT, targets_BT)
