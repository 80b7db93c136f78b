"""Solve an equation: which digit is x?

    inputs   (  x  -  (  4  )  )  =  2      1 - 4 = 2 mod 5
    targets  .  .  .  .  .  .  .  .  1

The left side is an expression of modular arithmetic with brackets, modulo 5, without products, so that exactly one
digit solves it. One of its digits is hidden: the first one at or after a uniform position, cyclically.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code (solve_equation).
Differs  the target is at the last symbol itself, without a placeholder; the ids have another order. Lengths below
         three, where theirs shows zeros with the target 0, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.arithmetic import MODULUS
from attnlab.tasks.arithmetic_brackets import evaluate_expression, sample_expressions
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register

SYMBOLS = "01234+-()x="
UNKNOWN, EQUALS = 9, 10


@register("solve-equation", source="arXiv:2207.02098, solve equation")
@final
class SolveEquation(Task):
    """Find the digit that solves a nested equation of sums and differences, modulo 5.

    Options:
        symbols: Length of the equation, including brackets and operators.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=3)] = 5) -> None:
        self.symbols = symbols
        self.vocabulary, self.length = len(SYMBOLS), symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw expressions, hide one digit and append the value after an equals sign."""
        rows, size = np.arange(batch), self.symbols - 2
        left, values = sample_expressions(random, batch, size, operators=2)
        distance = (np.arange(size) - random.integers(0, size, (batch, 1))) % size
        hidden = np.where(left < MODULUS, distance, size).argmin(axis=1)
        solutions = left[rows, hidden]
        left[rows, hidden] = UNKNOWN
        equals = np.full((batch, 1), EQUALS)
        inputs_BT = np.concatenate([left, equals, values[:, None]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = solutions
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Try every digit."""
        left, right = "".join(map(self.token_to_str, tokens)).split("=")
        values = [evaluate_expression(left.replace("x", str(digit))) for digit in range(MODULUS)]
        (solution,) = (digit for digit, value in enumerate(values) if value == int(right))
        return [IGNORE] * (len(tokens) - 1) + [solution]

    def token_to_str(self, token: int) -> str:
        """Digits, operators and brackets as written."""
        return SYMBOLS[token]
