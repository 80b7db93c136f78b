"""Stack manipulation: push and pop, then write the stack from its top.

    inputs   0  1  1  pop  push1  pop  |  1  0  #  #  #  #
    targets  .  .  .  .    .      .    1  0  #  .  .  .  .

The first symbols are a stack of bits, bottom first. The others are actions, all three equally likely; pop leaves an
empty stack unchanged. Of l symbols s are bits, s uniform over 1 .. l - 1. From the marker on the targets are the stack,
top first, and # after its bottom; the input after # is filler.

Chance is that of the most likely target at each step of the answer: a bit, or # where few stacks are higher.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (stack
         manipulation).
Differs  the answer is written out symbol by symbol, after a marker; # has an id of its own; there is no target after
         it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

POP, PUSH, MARKER, END = 2, 3, 5, 6
"""Ids after the two bits; PUSH pushes 0, the id after it 1."""
MAX_SYMBOLS = 2**13
"""Chance is computed over the heights of every stack, in steps of one symbol."""
WORDS = ("0", "1", "pop", "push0", "push1", "|", "#")


@register("stack", source="arXiv:2207.02098")
@final
class Stack(Task):
    """Given a stack and actions on it, write the final stack from its top.

    Options:
        symbols: Number of initial bits and actions together.
    """

    complexity = "symbols"
    vocabulary = len(WORDS)

    def __init__(self, *, symbols: Annotated[int, Field(ge=1, le=MAX_SYMBOLS)] = 10) -> None:
        self.symbols = symbols
        self.length = 2 * symbols + 1
        at_height = _heights(symbols)
        at_least = np.cumsum(at_height[::-1])[::-1]
        self.chance = float(np.maximum(at_height, (at_least - at_height) / 2).sum() / at_least.sum())

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw bits and actions; the input ends before the last symbol of the answer."""
        size = self.symbols
        bits = random.integers(1, max(2, size), (batch, 1))
        first = np.arange(size) < bits
        question = np.where(first, random.integers(0, POP, (batch, size)), random.integers(POP, MARKER, (batch, size)))
        cells, height = self._play(question)
        below_top = height[:, None] - 1 - np.arange(size + 1)
        from_top = np.take_along_axis(cells, np.maximum(below_top, 0), axis=1)
        answer = np.where(below_top >= 0, from_top, END)
        marker = np.full((batch, 1), MARKER)
        inputs_BT = np.concatenate([question, marker, answer[:, :-1]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, size:] = np.where(below_top >= -1, answer, IGNORE)
        return Batch(inputs_BT, targets_BT)

    def _play(self, question: Tokens) -> tuple[Tokens, Tokens]:
        """The cells of every stack from its bottom, B x (symbols + 1), and its height, B."""
        rows = np.arange(len(question))
        cells = np.zeros((len(question), self.symbols + 1), dtype=np.int64)
        height = np.zeros(len(question), dtype=np.int64)
        for symbol in question.T:
            cells[rows, height] = np.where(
                symbol < POP, symbol, symbol - PUSH
            )  # a pop writes above the top, which is not read
            height = np.where(symbol == POP, np.maximum(height - 1, 0), height + 1)
        return cells, height

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Apply the actions to a list."""
        words = [WORDS[token] for token in tokens]
        marker = words.index("|")
        stack: list[int] = []
        for word in words[:marker]:
            if word != "pop":
                stack.append(int(word[-1]))
            elif stack:
                stack.pop()
        answer = [*reversed(stack), WORDS.index("#")]
        return [IGNORE] * marker + answer + [IGNORE] * (len(tokens) - marker - len(answer))

    def token_to_str(self, token: int) -> str:
        """Bits and actions by name, the marker as a bar."""
        return WORDS[token]


def _heights(symbols: int) -> NDArray[np.float64]:
    """The probability of each height of the final stack, 0 .. symbols."""
    probabilities = np.zeros(symbols + 1)
    starts = range(1, max(2, symbols))
    for symbol in range(1, symbols + 1):
        # One action on all stacks whose bits are complete; stacks of this many bits are added.
        pushed = np.concatenate([[0], probabilities[:-1]])
        popped = np.concatenate([[probabilities[0] + probabilities[1]], probabilities[2:], [0]])
        probabilities = pushed * 2 / 3 + popped / 3
        probabilities[symbol] += 1 / len(starts) if symbol in starts else 0
    return probabilities
