"""Binary addition and multiplication: write the sum or product of two numbers, bit by bit.

    5 + 3 = 8    inputs   1  0  1  +  1  1  =  0  0  0  1  $
                 targets  .  .  .  .  .  .  0  0  0  1  $  .

    2 * 3 = 6    inputs   0  1  *  1  1  =  0  1  1  $
                 targets  .  .  .  .  .  0  1  1  $  .

The question has ``symbols`` tokens, including its operator. The length of the first number is uniform over all lengths
that leave the second one a bit; a number of n bits is uniform over 1 .. 2^n - 1. ``$`` ends the output, which has no
leading zeros. It also fills the rest of the longest possible output, which is not supervised.

    little  the least significant bit first, as above and in the source
    big     the most significant bit first

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (binary_addition,
         binary_multiplication).
Differs  theirs reads the output at placeholders and shows no bit of it. Here the output is part of the input, after the
         marker. Questions of fewer than three symbols, which are not sums, are left out.
Chance   the published one is 1/2. The most frequent token at each position is a better guess on short questions.
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
    """Two numbers, an operator and the result. Subclasses define the operation on bits and on integers."""

    complexity = "symbols"
    sign: ClassVar[str]
    """The operator as text."""

    def __init__(self, *, symbols: Symbols = 5, order: Order = "little") -> None:
        self.symbols, self.order = symbols, order
        self.vocabulary, self.length = 5, 2 * symbols

    @abstractmethod
    def bits(self, first: Tokens, second: Tokens) -> Tokens:
        """Compute the results for a batch of bits, least significant first.

        Args:
            first: Bits of the first numbers, B x (symbols - 2).
            second: Bits of the second numbers, likewise.

        Returns:
            Bits of the results, B x (symbols - 1).
        """

    @abstractmethod
    def number(self, first: int, second: int) -> int:
        """Compute the result for two integers.

        Args:
            first: The first number.
            second: The second number.

        Returns:
            The result.
        """

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw two numbers; the input is the question, the marker and the output without its last token."""
        max_bits, positions = self.symbols - 2, np.arange(self.symbols)
        first_size = random.integers(1, max_bits + 1, (batch, 1))
        second_size = max_bits + 1 - first_size
        first, second = sample_positive(random, first_size, max_bits), sample_positive(random, second_size, max_bits)
        result = self.bits(first, second)
        result_size = result.shape[1] - result[:, ::-1].argmax(axis=1)[:, None]
        question = np.where(positions < first_size, self._bits_at(first, first_size, positions), OPERATOR)
        behind = positions - first_size - 1
        question = np.where(positions > first_size, self._bits_at(second, second_size, behind), question)
        output = np.where(positions < result_size, self._bits_at(result, result_size, positions), END)
        marker = np.full((batch, 1), EQUALS)
        inputs_BT = np.concatenate([question, marker, output[:, :-1]], axis=1)
        targets = np.where(positions <= result_size, output, IGNORE)
        return Batch(inputs_BT, np.concatenate([np.full_like(question, IGNORE), targets], axis=1))

    def _bits_at(self, number: Tokens, size: Tokens, positions: Tokens) -> Tokens:
        """Return the bit at each position of numbers of ``size`` bits; arbitrary bits outside of them."""
        significance = positions if self.order == "little" else size - 1 - positions
        within = np.clip(significance, 0, number.shape[1] - 1)
        return np.take_along_axis(number, np.broadcast_to(within, (len(number), self.symbols)), axis=1)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Parse both numbers and compute the result with Python integers."""
        order = slice(None, None, -1 if self.order == "little" else 1)
        question = "".join(map(self.token_to_str, tokens[: list(tokens).index(EQUALS)]))
        first, second = (int(bits[order], 2) for bits in question.split(self.sign))
        output = f"{self.number(first, second):b}"[order]
        targets = [IGNORE] * len(question) + [int(bit) for bit in output] + [END]
        return targets + [IGNORE] * (len(tokens) - len(targets))

    def token_to_str(self, token: int) -> str:
        """Bits and signs as written, the end as a dollar sign."""
        return f"01{self.sign}=$"[token]


@register("binary-addition", source="arXiv:2207.02098, binary addition")
@final
class BinaryAddition(Calculation):
    """Write the sum of two binary numbers.

    Options:
        symbols: Length of the question, including the plus sign.
        order: Whether the least (``little``) or the most (``big``) significant bit is first.
    """

    sign = "+"

    def bits(self, first: Tokens, second: Tokens) -> Tokens:
        """Add the columns, then propagate carries."""
        return propagate_carries(np.pad(first + second, ((0, 0), (0, 1))))[0]

    def number(self, first: int, second: int) -> int:
        """The sum."""
        return first + second


@register("binary-multiplication", source="arXiv:2207.02098, binary multiplication")
@final
class BinaryMultiplication(Calculation):
    """Write the product of two binary numbers.

    Options:
        symbols: Length of the question, including the operator.
        order: Whether the least (``little``) or the most (``big``) significant bit is first.
    """

    sign = "*"

    def bits(self, first: Tokens, second: Tokens) -> Tokens:
        """Convolve the bits, by Fourier transforms, then propagate carries."""
        max_bits = first.shape[1]
        size = 1 << (2 * max_bits).bit_length()  # beyond the last column, so that nothing wraps around
        spectrum = np.fft.rfft(first, size) * np.fft.rfft(second, size)
        # A column is at most max_bits, so that rounding errors are far below 1/2.
        columns = np.rint(np.fft.irfft(spectrum, size)[:, : max_bits + 1]).astype(np.int64)
        return propagate_carries(columns)[0]

    def number(self, first: int, second: int) -> int:
        """The product."""
        return first * second


def sample_positive(random: np.random.Generator, sizes: Tokens, max_bits: int) -> Tokens:
    """Draw numbers that are uniform over 1 .. 2^size - 1.

    Args:
        random: The only source of randomness.
        sizes: Bits of each number, B x 1.
        max_bits: Bits of the result, at least the largest size.

    Returns:
        Bits, the least significant first, B x max_bits.
    """
    bits = np.zeros((len(sizes), max_bits), dtype=np.int64)
    zero_rows = np.arange(len(sizes))
    while len(zero_rows):
        bits[zero_rows] = random.integers(0, 2, (len(zero_rows), max_bits)) * (np.arange(max_bits) < sizes[zero_rows])
        zero_rows = zero_rows[~bits[zero_rows].any(axis=1)]
    return bits


def propagate_carries(columns: Tokens, width: int = 1) -> tuple[Tokens, Tokens]:
    """Convert columns of any size to digits below 2^width.

    Args:
        columns: Sums of each column, the least significant first, B x N.
        width: Bits of a digit; 1 gives binary digits.

    Returns:
        Digits, B x N, and the carry of the last column, B, which is negative where the number is.
    """
    base, carry = 2**width, np.zeros(len(columns), dtype=np.int64)
    while columns.min(initial=0) < -1:
        columns = _carried_once(columns, width, carry)
    if columns.min(initial=0) < 0:  # with base^N more, no column is negative; its carry is one less
        columns = columns + (base - 1)
        columns[:, 0] += 1
        carry -= 1
    while columns.max(initial=0) > base:
        columns = _carried_once(columns, width, carry)
    # A column of base - 1 hands on the carry that comes in; the carry out of any other is its own.
    positions = np.arange(columns.shape[1])
    source = np.maximum.accumulate(np.where(columns != base - 1, positions, -1), axis=1)
    carries = (source >= 0) & (np.take_along_axis(columns, np.maximum(source, 0), axis=1) == base)
    digits = columns.copy()
    digits[:, 1:] += carries[:, :-1]
    return digits & (base - 1), carry + carries[:, -1]


def _carried_once(columns: Tokens, width: int, carry: Tokens) -> Tokens:
    """Hand the carry of each column to the next one, all at once; that of the last one is added to ``carry``, B."""
    handed, columns = columns >> width, columns & (2**width - 1)
    columns[:, 1:] += handed[:, :-1]
    carry += handed[:, -1]
    return columns
