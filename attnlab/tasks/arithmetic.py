"""Modular arithmetic: the value of a flat expression, modulo 5.

    inputs   2  +  3  *  4  -  1        2 + 12 - 1 = 13 = 3 mod 5
    targets  .  .  .  .  .  .  3

Digits are uniform over 0 .. 4, operators over ``+ - *``; a product binds tighter than a sum.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (modular_arithmetic).
Theirs   length -> 2 numbers - 1. Theirs lowers an even length by one, so its uniform lengths 1 .. 40 are uniform
         1 .. 20 numbers here.
Differs  the target is at the last digit itself, without a placeholder; their id 8, which never occurs, is left out.
Chance   the published one is 1/5. A product with a factor 0 is 0, so 0 is more frequent with few numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

MODULUS = 5
SYMBOLS = "01234+-*"
PLUS, MINUS, TIMES = 5, 6, 7


@register("modular-arithmetic", source="arXiv:2207.02098, modular arithmetic (simple)")
@final
class ModularArithmetic(Task):
    """Compute sums, differences and products of digits, modulo 5.

    Options:
        numbers: Number of digits in the expression, with an operator between neighbors.
    """

    complexity = "numbers"

    def __init__(self, *, numbers: Annotated[int, Field(ge=1)] = 3) -> None:
        self.numbers = numbers
        self.vocabulary, self.length = len(SYMBOLS), 2 * numbers - 1

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform digits and operators; the current product is kept separate from the sum of earlier terms."""
        digits = random.integers(0, MODULUS, (batch, self.numbers))
        operators = random.integers(PLUS, TIMES + 1, (batch, self.numbers - 1))
        total, term = np.zeros(batch, dtype=np.int64), digits[:, 0]
        for digit, operator in zip(digits.T[1:], operators.T, strict=True):
            times = operator == TIMES
            total = np.where(times, total, total + term) % MODULUS
            term = np.where(times, term * digit, np.where(operator == PLUS, digit, -digit)) % MODULUS
        inputs_BT = np.empty((batch, self.length), dtype=np.int64)
        inputs_BT[:, ::2], inputs_BT[:, 1::2] = digits, operators
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = (total + term) % MODULUS
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Split the expression at plus and minus signs, multiply within the terms and add them up."""
        first, *rest = re.split(r"([+-])", "".join(map(self.token_to_str, tokens)))
        value = _product(first)
        for sign, term in zip(rest[::2], rest[1::2], strict=True):
            value += _product(term) if sign == "+" else -_product(term)
        return [IGNORE] * (len(tokens) - 1) + [value % MODULUS]

    def token_to_str(self, token: int) -> str:
        """Digits and operators as written."""
        return SYMBOLS[token]


def _product(term: str) -> int:
    """Evaluate a term without plus and minus signs."""
    return prod(map(int, term.split("*")))
