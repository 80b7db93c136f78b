"""Mano: the value of an expression in prefix notation, modulo 23, in one token.

    inputs   *  +  3  5  -  2  9  =        (3 + 5) * (2 - 9) = -56 = 13 mod 23
    targets  .  .  .  .  .  .  .  13

An expression with k operators has k + 1 numbers. Its first operator is the outermost: of the other k - 1 a uniform
number, 0 .. k - 1, belongs to its left operand and the rest to its right one, and so on within each. Operators are
uniform over ``+ - *``, or those of them in ``operators``; numbers are uniform over 0 .. 22, or below another
``modulus``. All intermediate values have to be found without being written.

There are ``operations`` operators. With ``fewest`` their number is uniform for each sequence, from there on;
a sequence with fewer is filled up at its end.

Source   Allen-Zhu, "Physics of language models: part 4.1", arXiv:2512.17351.
Theirs   L -> operations, from 1 on; 10, 13 and 16.
Differs  how theirs marks the length of an expression we do not know; here nothing does but its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.sizes import MAX_STEPS
from attnlab.tasks.arithmetic import OPERATORS, Modulus, Operators, operator_indices
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

MODULUS = 23
PLUS, MINUS = OPERATORS.index("+"), OPERATORS.index("-")


@register("mano", source="arXiv:2512.17351")
@final
class Mano(Task):
    """Compute the value of nested sums, differences and products in prefix notation, modulo 23.

    Options:
        operations: Operators of an expression, or the most of them.
        fewest: Each expression has a number of operators from here on; None takes ``operations`` for all.
        modulus: The modulus; numbers are below it.
        operators: The operators that are used, some of ``+-*``.
    """

    complexity = "operations"
    max_length = MAX_STEPS

    def __init__(
        self,
        *,
        operations: Annotated[int, Field(ge=1)] = 2,
        fewest: Annotated[int, Field(ge=1)] | None = None,
        modulus: Modulus = MODULUS,
        operators: Operators = OPERATORS,
    ) -> None:
        self.fewest = operations if fewest is None else fewest
        if self.fewest > operations:
            problem = f"At least {fewest} operations are more than {operations}, the most."
            raise InvalidValueError(problem, f"Use fewest of at most {operations}.", where="mano")
        self.operations, self.modulus = operations, modulus
        self.operators = operator_indices(operators, "mano")
        self.first_operator = modulus
        self.equals, self.filler = modulus + len(OPERATORS), modulus + len(OPERATORS) + 1
        self.vocabulary = self.filler + 1
        self.length = 2 * operations + 2

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw trees from left to right, then compute their values from right to left."""
        rows = np.arange(batch)
        operations = random.integers(self.fewest, self.operations + 1, batch)
        symbols_BT = self._draw(random, operations)
        inputs_BT = np.full((batch, self.length), self.filler)
        inputs_BT[:, :-1] = symbols_BT
        inputs_BT[rows, 2 * operations + 1] = self.equals
        targets_BT = no_targets(inputs_BT)
        targets_BT[rows, 2 * operations + 1] = self._values(symbols_BT)
        return Batch(inputs_BT, targets_BT)

    def _draw(self, random: np.random.Generator, operations: Tokens) -> Tokens:
        """Symbols of expressions; each operand waits on a stack as its number of operators, B x T - 1."""
        batch, most = len(operations), 2 * self.operations + 1
        rows, shape = np.arange(batch), (batch, most)
        numbers = random.integers(0, self.modulus, shape)
        signs = self.operators[random.integers(0, len(self.operators), shape)]
        luck = random.random(shape)
        waiting = np.zeros((batch, self.operations + 2), dtype=np.int64)
        waiting[:, 1] = operations
        top = np.ones(batch, dtype=np.int64)
        symbols_BT = np.full(shape, self.filler)
        for place in range(most):
            size = waiting[rows, top]
            is_operator, is_any = size > 0, top > 0
            left = (luck[:, place] * size).astype(np.int64)
            symbol = np.where(is_operator, self.first_operator + signs[:, place], numbers[:, place])
            symbols_BT[:, place] = np.where(is_any, symbol, self.filler)
            waiting[rows, top] = np.where(is_operator, size - 1 - left, 0)  # the right operand waits below the left
            top = np.where(is_operator, top + 1, np.maximum(top - 1, 0))
            waiting[rows, top] = np.where(is_operator, left, waiting[rows, top])
        return symbols_BT

    def _values(self, symbols_BT: Tokens) -> Tokens:
        """Values of expressions, B; an operator takes the two values that were found last."""
        rows = np.arange(len(symbols_BT))
        values = np.zeros((len(rows), self.operations + 2), dtype=np.int64)
        top = np.zeros(len(rows), dtype=np.int64)
        for symbol in symbols_BT.T[::-1]:
            is_number, is_operator = (
                symbol < self.first_operator,
                (symbol >= self.first_operator) & (symbol < self.equals),
            )
            left, right = values[rows, top], values[rows, np.maximum(top - 1, 0)]
            sign = symbol - self.first_operator
            sums = left + np.where(sign == PLUS, right, -right)
            value = np.where((sign == PLUS) | (sign == MINUS), sums, left * right) % self.modulus
            top = top + is_number - is_operator
            values[rows, top] = np.where(is_number, symbol, np.where(is_operator, value, values[rows, top]))
        return values[rows, top]

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Parse the expression and compute each operand exactly; the modulus is taken of the result alone."""
        targets, end = [IGNORE] * len(tokens), list(tokens).index(self.equals)
        value, after = self._parsed(tokens, 0)
        assert after == end, "the expression ends at the equals sign"
        targets[end] = value % self.modulus
        return targets

    def _parsed(self, tokens: Sequence[int], start: int) -> tuple[int, int]:
        """The exact value of the operand that starts at a token, and where the next one starts."""
        if tokens[start] < self.first_operator:
            return tokens[start], start + 1
        left, middle = self._parsed(tokens, start + 1)
        right, end = self._parsed(tokens, middle)
        value = {"+": left + right, "-": left - right, "*": left * right}[self.token_to_str(tokens[start])]
        return value, end

    def token_to_str(self, token: int) -> str:
        """Numbers and operators as written; an equals sign; a dot for what fills the sequence up."""
        return str(token) if token < self.first_operator else f"{OPERATORS}=·"[token - self.first_operator]
