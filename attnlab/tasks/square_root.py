"""Square root: write the whole part of the root of a binary number.

    inputs   1  1  0  1  1  =  1  0          the root of 27 is 5.19...
    answers  .  .  .  .  .  1  0  1

The number is uniform over 1 .. 2^n - 1, for n ``bits``; its root is written with n / 2 bits, rounded up, zeros in front
included. The most significant bit stands first.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (compute_sqrt);
         its text says that the least significant bit stands first.
Theirs   length -> bits.
Differs  theirs read the answer at placeholders, and see no bit of it. Here the answer is written out: its bits but the
         last stand in the input after the marker.
Chance   the published one, of a uniform guess. Roots are more often large than small: with an even number of bits,
         the first one is 1 in three cases of four.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, register
from attnlab.tasks.binary import carried, positive
from attnlab.tasks.copying import write_out

EQUALS = 2
WIDTH = 30
"""Bits of a digit of the long arithmetic below: four times one, and a carry, fit 63."""


@register("square-root", source="arXiv:2207.02098, compute sqrt")
@final
class SquareRoot(Task):
    """Write the square root of a binary number, rounded down.

    Options:
        bits: Length of the number.
    """

    complexity = "bits"

    def __init__(self, *, bits: Annotated[int, Field(ge=1)] = 4) -> None:
        self.bits, self.root_bits = bits, (bits + 1) // 2
        self.vocabulary, self.length, self.chance = 3, bits + self.root_bits, 0.5

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Numbers, the marker, and their roots without the last bit."""
        number = positive(random, np.full((batch, 1), self.bits), self.bits)
        return write_out(number, EQUALS, roots(number))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read the number, take its root, and write it."""
        root = isqrt(int("".join(map(str, tokens[: self.bits])), 2))
        return [IGNORE] * self.bits + [int(bit) for bit in f"{root:0{self.root_bits}b}"]

    def token_to_str(self, token: int) -> str:
        """Bits as numbers, and the marker."""
        return "01="[token]


def roots(number: Tokens) -> Tokens:
    """Square roots, rounded down, of rows of bits, the most significant first, by the schoolbook method.

    Two bits at a time come down to the rest; where four times the root so far, plus one, fits into it, it is taken
    away, and the next bit of the root is 1. Rests and roots are of any length, as digits of 30 bits.
    """
    padded = np.pad(number, ((0, 0), (number.shape[1] % 2, 0)))
    pairs = 2 * padded[:, ::2] + padded[:, 1::2]
    bits = np.empty_like(pairs)
    rest = root = np.zeros((len(number), (pairs.shape[1] + 3) // WIDTH + 1), dtype=np.int64)
    for place, pair in enumerate(pairs.T):
        rest, trial = 4 * rest, 4 * root
        rest[:, 0] += pair
        trial[:, 0] += 1
        (rest, _), (less, borrowed) = carried(rest, WIDTH), carried(rest - trial, WIDTH)
        fits = borrowed == 0
        rest, root = np.where(fits[:, None], less, rest), 2 * root
        root[:, 0] += fits
        root, bits[:, place] = carried(root, WIDTH)[0], fits
    return bits
