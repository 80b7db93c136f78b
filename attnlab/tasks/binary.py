"""Binary addition and multiplication: write the sum or product of two numbers, bit by bit.

    5 + 3 = 8    inputs   1  0  1  +  1  1  =  0  0  0  1  $
                 answers  .  .  .  .  .  .  0  0  0  1  $  .

    2 * 3 = 6    inputs   0  1  *  1  1  =  0  1  1  $
                 answers  .  .  .  .  .  0  1  1  $  .

The question has ``symbols`` tokens, its operator included. The length of the first number is uniform over all that
leave the second one a bit; a number of n bits is uniform over 1 .. 2^n - 1. ``$`` ends the answer, which has no leading
zeros; it fills the rest of the longest possible answer, where nothing is asked.

    little  the least significant bit first, as above and in the source
    big     the most significant bit first

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (binary_addition,
         binary_multiplication).
Differs  theirs read the answer at placeholders, and see no bit of it. Here the answer is written out: it stands in the
         input after the marker. Questions below three symbols, which are no sums, are left out.
Chance   of a uniform guess among 0, 1 and $. The published one is 1/2, and a guess that never ends comes near it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, register

OPERATOR, EQUALS, END = 2, 3, 4
Symbols = Annotated[int, Field(ge=3)]
Order = Literal["little", "big"]


class Calculation(Task):
    """Two numbers, an operator, and the result written out; an operation says what it does to bits and to numbers."""

    complexity = "symbols"
    sign: ClassVar[str]

    def __init__(self, *, symbols: Symbols = 5, order: Order = "little") -> None:
        self.symbols, self.order = symbols, order
        self.vocabulary, self.length, self.chance = 5, 2 * symbols, 1 / 3

    @abstractmethod
    def bits(self, first: Tokens, second: Tokens) -> Tokens:
        """The result of two rows of bits, least significant first, as ``symbols - 1`` bits."""

    @abstractmethod
    def number(self, first: int, second: int) -> int:
        """The result of two numbers."""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Two numbers, the marker, and the result without its last possible token."""
        room, positions = self.symbols - 2, np.arange(self.symbols)
        size = random.integers(1, room + 1, (batch, 1))
        other = room + 1 - size
        first, second = positive(random, size, room), positive(random, other, room)
        result = self.bits(first, second)
        bits = result.shape[1] - result[:, ::-1].argmax(axis=1)[:, None]
        question = np.where(positions < size, self._laid(first, size, positions), OPERATOR)
        question = np.where(positions > size, self._laid(second, other, positions - size - 1), question)
        answer = np.where(positions < bits, self._laid(result, bits, positions), END)
        marker = np.full((batch, 1), EQUALS)
        inputs_BT = np.concatenate([question, marker, answer[:, :-1]], axis=1)
        asked = np.where(positions <= bits, answer, IGNORE)
        return Batch(inputs_BT, np.concatenate([np.full_like(question, IGNORE), asked], axis=1))

    def _laid(self, number: Tokens, bits: Tokens, positions: Tokens) -> Tokens:
        """The token at each place of a number of so many bits; anything beyond its ends."""
        significance = positions if self.order == "little" else bits - 1 - positions
        within = np.clip(significance, 0, number.shape[1] - 1)
        return np.take_along_axis(number, np.broadcast_to(within, (len(number), self.symbols)), axis=1)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read both numbers, calculate, and write the result."""
        turn = slice(None, None, -1 if self.order == "little" else 1)
        question = "".join(map(self.token_to_str, tokens[: list(tokens).index(EQUALS)]))
        first, second = (int(bits[turn], 2) for bits in question.split(self.sign))
        written = f"{self.number(first, second):b}"[turn]
        answers = [IGNORE] * len(question) + [int(bit) for bit in written] + [END]
        return answers + [IGNORE] * (len(tokens) - len(answers))

    def token_to_str(self, token: int) -> str:
        """Bits and signs as they are written, the end as a dollar sign."""
        return f"01{self.sign}=$"[token]


@register("binary-addition", source="arXiv:2207.02098, binary addition")
@final
class BinaryAddition(Calculation):
    """Write the sum of two binary numbers.

    Options:
        symbols: Length of the question, the plus sign included.
        order: Whether numbers begin with their least (``little``) or their most (``big``) significant bit.
    """

    sign = "+"

    def bits(self, first: Tokens, second: Tokens) -> Tokens:
        """Carry from column to column."""
        return carried(np.pad(first + second, ((0, 0), (0, 1))))[0]

    def number(self, first: int, second: int) -> int:
        """The sum."""
        return first + second


@register("binary-multiplication", source="arXiv:2207.02098, binary multiplication")
@final
class BinaryMultiplication(Calculation):
    """Write the product of two binary numbers.

    Options:
        symbols: Length of the question, the sign included.
        order: Whether numbers begin with their least (``little``) or their most (``big``) significant bit.
    """

    sign = "*"

    def bits(self, first: Tokens, second: Tokens) -> Tokens:
        """Add the second number once for each bit of the first, shifted, then carry."""
        room = first.shape[1]
        columns = np.zeros((len(first), 2 * room), dtype=np.int64)
        for shift in range(room):
            columns[:, shift : shift + room] += first[:, shift : shift + 1] * second
        return carried(columns[:, : room + 1])[0]

    def number(self, first: int, second: int) -> int:
        """The product."""
        return first * second


def positive(random: np.random.Generator, sizes: Tokens, room: int) -> Tokens:
    """Numbers uniform over 1 .. 2^size - 1, as ``room`` bits each, the least significant first; sizes are B x 1."""
    bits = np.zeros((len(sizes), room), dtype=np.int64)
    again = np.arange(len(sizes))
    while len(again):
        bits[again] = random.integers(0, 2, (len(again), room)) * (np.arange(room) < sizes[again])
        again = again[~bits[again].any(axis=1)]
    return bits


def carried(columns: Tokens, width: int = 1) -> tuple[Tokens, Tokens]:
    """Columns of any size as digits below 2^width, the least significant first; and what the last one carries over.

    What is carried over is negative where the number is.
    """
    digits, carry = np.empty_like(columns), np.zeros(len(columns), dtype=np.int64)
    for place, column in enumerate(columns.T):
        total = column + carry
        digits[:, place], carry = total & (2**width - 1), total >> width
    return digits, carry
