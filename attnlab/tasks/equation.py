"""Solve an equation: which digit is x?

    inputs   (  x  -  (  4  )  )  =  2      1 - 4 = 2 mod 5
    targets  .  .  .  .  .  .  .  .  1

The left side is an expression of modular arithmetic with brackets, modulo 5 or another ``modulus``, without products,
so that exactly one digit solves it. One of its digits is hidden: the first one at or after a uniform position,
cyclically.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (solve_equation).
Theirs   length -> symbols, modulus -> modulus; the ids are theirs.
Differs  the target is at the last symbol itself, without a placeholder. Lengths below three, where theirs shows zeros
         with the target 0, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.arithmetic import MODULUS, Modulus, Sums, operator_indices
from attnlab.tasks.arithmetic_brackets import evaluate_expression, sample_expressions
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

SIGNS = "+-()x="
UNKNOWN, EQUALS = 4, 5
"""Ids of signs, counted from the modulus."""


@register("solve-equation", source="arXiv:2207.02098, solve equation")
@final
class SolveEquation(Task):
    """Find the digit that solves a nested equation of sums and differences, modulo 5.

    Options:
        symbols: Length of the equation, including brackets and operators.
        modulus: The modulus; digits are below it.
        operators: The operators that are used, some of ``+-``.
    """

    complexity = "symbols"

    def __init__(
        self, *, symbols: Annotated[int, Field(ge=3)] = 5, modulus: Modulus = MODULUS, operators: Sums = "+-"
    ) -> None:
        self.symbols, self.modulus = symbols, modulus
        self.operators = operator_indices(operators, "solve-equation")
        self.vocabulary, self.length = modulus + len(SIGNS), symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw expressions, hide one digit and append the value after an equals sign."""
        rows, size = np.arange(batch), self.symbols - 2
        left, values = sample_expressions(random, batch, size, self.operators, self.modulus)
        distance = (np.arange(size) - random.integers(0, size, (batch, 1))) % size
        hidden = np.where(left < self.modulus, distance, size).argmin(axis=1)
        solutions = left[rows, hidden]
        left[rows, hidden] = self.modulus + UNKNOWN
        equals = np.full((batch, 1), self.modulus + EQUALS)
        inputs_BT = np.concatenate([left, equals, values[:, None]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = solutions
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Try every digit."""
        left, right = "".join(map(self.token_to_str, tokens)).split("=")
        digits = range(self.modulus)
        values = [evaluate_expression(left.replace("x", str(digit)), self.modulus) for digit in digits]
        (solution,) = (digit for digit, value in enumerate(values) if value == int(right))
        return [IGNORE] * (len(tokens) - 1) + [solution]

    def token_to_str(self, token: int) -> str:
        """Digits, operators and brackets as written."""
        return str(token) if token < self.modulus else SIGNS[token - self.modulus]
