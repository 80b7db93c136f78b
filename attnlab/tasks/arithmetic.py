"""Modular arithmetic: the value of a flat expression, modulo 5.

    inputs   2  +  3  *  4  -  1        2 + 12 - 1 = 13 = 3 mod 5
    targets  .  .  .  .  .  .  3

Digits are uniform over 0 .. 4, or below another ``modulus``; operators are uniform over ``+ - *``, or those of them in
``operators``. A product binds tighter than a sum. Ids are the digits, then ``+ - *``, whichever of these are used.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (modular_arithmetic).
Theirs   length -> 2 numbers - 1, modulus -> modulus, operators -> operators. Theirs lowers an even length by one, so
         its uniform lengths 1 .. 40 are uniform 1 .. 20 numbers here.
Differs  the target is at the last digit itself, without a placeholder; the last of their ids, which never occurs, is
         left out.
Chance   the published one is 1/5. A product with a factor 0 is 0, so 0 is more frequent with few numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.ops.scans import product

MODULUS = 5
OPERATORS = "+-*"
Modulus = Annotated[int, Field(ge=2)]
Operators = Annotated[str, Field(pattern=r"^[-+*]{1,3}$", description="one or more of the operators + - *, as in '+-'")]
Sums = Annotated[str, Field(pattern=r"^[-+]{1,2}$", description="one or both of the operators + -, as in '+'")]
"""Operators without products."""


def operator_indices(operators: str, where: str) -> Tokens:
    """Find which operators are used.

    >>> operator_indices("*+", "").tolist()
    [0, 2]

    Args:
        operators: Some of ``+-*``, in any order.
        where: The location, for the error.

    Returns:
        Their indices in ``+-*``, rising.

    Raises:
        InvalidValueError: One of them is given twice.
    """
    if len(set(operators)) < len(operators):
        hint = "Name each operator once, as in +-; all are equally frequent."
        raise InvalidValueError(f"The operators '{operators}' name one twice.", hint, where=where)
    return np.array([index for index, operator in enumerate(OPERATORS) if operator in operators])


@register("modular-arithmetic", source="arXiv:2207.02098, modular arithmetic (simple)")
@final
class ModularArithmetic(Task):
    """Compute sums, differences and products of digits, modulo 5.

    Options:
        numbers: Number of digits in the expression, with an operator between neighbors.
        modulus: The modulus; digits are below it.
        operators: The operators that are used, some of ``+-*``.
    """

    complexity = "numbers"

    def __init__(
        self,
        *,
        numbers: Annotated[int, Field(ge=1)] = 3,
        modulus: Modulus = MODULUS,
        operators: Operators = OPERATORS,
    ) -> None:
        self.numbers, self.modulus = numbers, modulus
        self.operators = operator_indices(operators, "modular-arithmetic")
        self.vocabulary, self.length = modulus + len(OPERATORS), 2 * numbers - 1

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform digits and operators."""
        digits = random.integers(0, self.modulus, (batch, self.numbers))
        operators = self.operators[random.integers(0, len(self.operators), (batch, self.numbers - 1))]
        inputs_BT = np.empty((batch, self.length), dtype=np.int64)
        inputs_BT[:, ::2], inputs_BT[:, 1::2] = digits, self.modulus + operators
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = self._values(digits, operators)
        return Batch(inputs_BT, targets_BT)

    def _values(self, digits: Tokens, operators: Tokens) -> Tokens:
        """Values of expressions, B, from digits, B x N, and the operators between them.

        With the current term kept apart from the sum of earlier ones, an operator and its digit are an affine map:
        ``sum + a term + e`` and ``b term + c``. In a product a = e = c = 0, b = digit; in a sum a = 1, e = b = 0 and
        c = digit.
        """
        following, times = digits[:, 1:], operators == OPERATORS.index("*")
        signed = np.where(operators == OPERATORS.index("-"), -following, following)
        zero, start = np.zeros_like(following), np.zeros_like(digits[:, :1])
        first = np.stack([start, start, digits[:, :1], start], axis=2)
        maps = np.stack([~times, np.where(times, following, 0), np.where(times, 0, signed), zero], axis=2)
        both = product(self._composed, np.concatenate([first, maps], axis=1))
        return (both[:, 2] + both[:, 3]) % self.modulus

    def _composed(self, before: Tokens, after: Tokens) -> Tokens:
        """Numbers a, b, c and e of one map after another."""
        (a, b, c, e), (a2, b2, c2, e2) = np.moveaxis(before, -1, 0), np.moveaxis(after, -1, 0)
        return np.stack([a + a2 * b, b2 * b, b2 * c + c2, e + a2 * c + e2], axis=-1) % self.modulus

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Split the expression at plus and minus signs, multiply within the terms and add them up."""
        first, *rest = re.split(r"([+-])", "".join(map(self.token_to_str, tokens)))
        value = _product(first)
        for sign, term in zip(rest[::2], rest[1::2], strict=True):
            value += _product(term) if sign == "+" else -_product(term)
        return [IGNORE] * (len(tokens) - 1) + [value % self.modulus]

    def token_to_str(self, token: int) -> str:
        """Digits and operators as written."""
        return str(token) if token < self.modulus else OPERATORS[token - self.modulus]


def _product(term: str) -> int:
    """Evaluate a term without plus and minus signs."""
    return prod(map(int, term.split("*")))
