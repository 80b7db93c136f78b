"""Copying: write a string again, after a marker.

    copy       inputs   c  a  d  |  c  a
               targets  .  .  .  c  a  d

    reverse    inputs   c  a  d  |  d  a
               targets  .  .  .  d  a  c

    duplicate  inputs   c  a  d  |  c  a  d  c  a
               targets  .  .  .  c  a  d  c  a  d

Source   copy: Jelassi et al., "Repeat after me", arXiv:2402.01032, section 2 (the task; layout and sizes are ours).
         reverse, duplicate: Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its
         code (reverse_string, duplicate_string).
Theirs   length -> symbols, vocab_size -> alphabet; 2 letters there. duplicate: ``duplication`` is 2 there.
Differs  reverse, duplicate: theirs reads the output at one placeholder per letter and shows no letter of it. Here all
         letters of the output but the last are part of the input, after the marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall_stream import seen_letter_accuracy

Symbols = Annotated[int, Field(ge=1)]
Alphabet = Annotated[int, Field(ge=2)]


def write_out(question_BN: Tokens, marker: int, output_BM: Tokens) -> Batch:
    """Build a batch from questions and outputs, with a marker between them.

    Args:
        question_BN: Questions.
        marker: The token between question and output.
        output_BM: Outputs.

    Returns:
        Inputs with the outputs except for their last token, and as targets the outputs from the marker on; both are
        B x (N + M).
    """
    rows, length = question_BN.shape
    markers = np.full((rows, 1), marker)
    inputs_BT = np.concatenate([question_BN, markers, output_BM[:, :-1]], axis=1)
    targets_BT = no_targets(inputs_BT)
    targets_BT[:, length:] = output_BM
    return Batch(inputs_BT, targets_BT)


class MarkerTask(Task):
    """Base class of tasks with the output after a marker; the marker is the last token id."""

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the marker as a bar."""
        return "|" if token == self.vocabulary - 1 else str(token)


@register("copy", source="arXiv:2402.01032, section 2")
@final
class Copy(MarkerTask):
    """Write a random string again, after a marker.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Symbols = 16, alphabet: Alphabet = 16) -> None:
        self.symbols, self.alphabet = symbols, alphabet
        self.vocabulary = alphabet + 1
        self.length = 2 * symbols
        self.chance = seen_letter_accuracy(alphabet, symbols)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the output is the same string."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        return write_out(letters, self.alphabet, letters)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """The letters before the marker are the targets from the marker on."""
        marker = list(tokens).index(self.alphabet)
        return [IGNORE] * marker + list(tokens[:marker])


@register("reverse", source="arXiv:2207.02098, reverse string")
@final
class Reverse(MarkerTask):
    """Write a random string from its end to its beginning, after a marker.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Symbols = 10, alphabet: Alphabet = 2) -> None:
        self.symbols, self.alphabet = symbols, alphabet
        self.vocabulary = alphabet + 1
        self.length = 2 * symbols
        self.chance = seen_letter_accuracy(alphabet, symbols)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the output is the reversed string."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        return write_out(letters, self.alphabet, letters[:, ::-1])

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Pop letters from the end of the string before the marker."""
        marker = list(tokens).index(self.alphabet)
        stack = list(tokens[:marker])
        return [IGNORE] * marker + [stack.pop() for _ in range(marker)]


@register("duplicate", source="arXiv:2207.02098, duplicate string")
@final
class Duplicate(MarkerTask):
    """Write a random string twice, after a marker.

    Options:
        symbols: Length of the string.
        alphabet: Letters to draw from.
        duplication: How often the string is written.
    """

    complexity = "symbols"

    def __init__(
        self, *, symbols: Symbols = 10, alphabet: Alphabet = 2, duplication: Annotated[int, Field(ge=1)] = 2
    ) -> None:
        self.symbols, self.alphabet, self.duplication = symbols, alphabet, duplication
        self.vocabulary = alphabet + 1
        self.length = (1 + duplication) * symbols
        self.chance = seen_letter_accuracy(alphabet, symbols)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw strings; the output is the string, again and again."""
        letters = random.integers(0, self.alphabet, (batch, self.symbols))
        return write_out(letters, self.alphabet, np.tile(letters, (1, self.duplication)))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """The letters before the marker are the targets from the marker on, again and again."""
        marker = list(tokens).index(self.alphabet)
        targets = []
        for position in range(self.duplication * marker):
            targets.append(tokens[position % marker])
        return [IGNORE] * marker + targets
