"""Square root: write the integer part of the root of a binary number.

    inputs   1  1  0  1  1  =  1  0          the root of 27 is 5.19...
    targets  .  .  .  .  .  1  0  1

The number is uniform over 1 .. 2^n - 1, for n ``bits``. Its root is written with n / 2 bits, rounded up, leading zeros
included. The most significant bit comes first.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (compute_sqrt);
         according to its text the least significant bit comes first.
Theirs   length -> bits.
Differs  theirs read the answer at placeholders, and see no bit of it. Here the answer is written out: its bits but the
         last are in the input after the marker.
Chance   the published one, of a uniform guess. Roots are more often large than small: with an even number of bits,
         the first one is 1 in three cases of four.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.sizes import MAX_STEPS
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, register
from attnlab.tasks.binary import propagate_carries, sample_positive
from attnlab.tasks.copying import write_out

EQUALS = 2
WIDTH = 30
"""Bits of a digit of the long arithmetic below: four times a digit plus a carry fits 63 bits."""


@register("square-root", source="arXiv:2207.02098, compute sqrt")
@final
class SquareRoot(Task):
    """Write the square root of a binary number, rounded down.

    Options:
        bits: Length of the number, in bits.
    """

    complexity = "bits"
    max_length = MAX_STEPS // 2

    def __init__(self, *, bits: Annotated[int, Field(ge=1)] = 4) -> None:
        self.bits, self.root_bits = bits, (bits + 1) // 2
        self.vocabulary, self.length = 3, bits + self.root_bits

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw numbers; the input ends before the last bit of the root."""
        number = sample_positive(random, np.full((batch, 1), self.bits), self.bits)
        return write_out(number, EQUALS, roots(number))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read the number, take its root, and write it."""
        root = isqrt(int("".join(map(str, tokens[: self.bits])), 2))
        return [IGNORE] * self.bits + [int(bit) for bit in f"{root:0{self.root_bits}b}"]

    def token_to_str(self, token: int) -> str:
        """Bits as numbers, and the marker."""
        return "01="[token]


def roots(number: Tokens) -> Tokens:
    """Square roots, rounded down, by digit-by-digit calculation in base 2.

    Each step appends two bits of the number to the remainder. If four times the root so far, plus one, is at most the
    remainder, it is subtracted, and the next bit of the root is 1. Remainders and roots have any length, as digits of
    30 bits.

    Args:
        number: Bits of each number, the most significant first, B x N.

    Returns:
        Bits of each root, the most significant first, B x ceil(N / 2).
    """
    padded = np.pad(number, ((0, 0), (number.shape[1] % 2, 0)))
    pairs = 2 * padded[:, ::2] + padded[:, 1::2]
    bits = np.empty_like(pairs)
    remainder = root = np.zeros((len(number), (pairs.shape[1] + 3) // WIDTH + 1), dtype=np.int64)
    for index, pair in enumerate(pairs.T):
        remainder, trial = 4 * remainder, 4 * root
        remainder[:, 0] += pair
        trial[:, 0] += 1
        (remainder, _), (reduced, borrowed) = (
            propagate_carries(columns, WIDTH) for columns in (remainder, remainder - trial)
        )
        fits = borrowed == 0
        remainder, root = np.where(fits[:, None], reduced, remainder), 2 * root
        root[:, 0] += fits
        root, bits[:, index] = propagate_carries(root, WIDTH)[0], fits
    return bits
