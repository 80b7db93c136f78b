"""Modular arithmetic with brackets: the value of a nested expression, modulo 5.

    inputs   (  3  *  (  -  4  )  )      3 * (-4) = 3 mod 5
    targets  .  .  .  .  .  .  .  3

An expression of at least five symbols is ``( left operator right )``, where the length of the left side is uniform over
all lengths that leave the right side a symbol, and the operator is uniform over ``+ - *``. Shorter ones are ``d``,
``-d``, ``(d)`` and ``(-d)``, for a uniform digit d. Every expression therefore has exactly the requested length.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (modular_arithmetic_brackets).
Differs  the target is at the last symbol itself, without a placeholder; the ids have another order.
Chance   the published one is 1/5. A product with a factor 0 is 0, so 0 is more frequent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.arithmetic import MODULUS
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

SYMBOLS = "01234+-()*"
PLUS, MINUS, OPEN, CLOSE, TIMES = 5, 6, 7, 8, 9
OPERATORS = np.array([PLUS, MINUS, TIMES])
INNERMOST = re.compile(r"\((-?\d)(?:([-+*])(-?\d))?\)")


@register("modular-arithmetic-brackets", source="arXiv:2207.02098, modular arithmetic")
@final
class ModularArithmeticBrackets(Task):
    """Compute nested sums, differences and products, modulo 5.

    Options:
        symbols: Length of the expression, including brackets and operators.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=1)] = 5) -> None:
        self.symbols = symbols
        self.vocabulary, self.length = len(SYMBOLS), symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw expressions; the target of the last symbol is the value."""
        inputs_BT, values = sample_expressions(random, batch, self.symbols, operators=3)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = values
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Evaluate from the innermost brackets outward."""
        return [IGNORE] * (len(tokens) - 1) + [evaluate_expression("".join(map(self.token_to_str, tokens)))]

    def token_to_str(self, token: int) -> str:
        """Digits, operators and brackets as written."""
        return SYMBOLS[token]


def sample_expressions(random: np.random.Generator, batch: int, symbols: int, operators: int) -> tuple[Tokens, Tokens]:
    """Draw expressions of a given length.

    Args:
        random: The only source of randomness.
        batch: B, the number of expressions.
        symbols: T, the length of each expression.
        operators: How many operators of ``+ - *`` are used, counted from the first.

    Returns:
        Expressions, B x T, and their values modulo 5, B.
    """
    tokens_BT = np.empty((batch, symbols), dtype=np.int64)
    starts = symbols * np.arange(batch)
    values = _write_expressions(random, tokens_BT.reshape(-1), starts, np.full(batch, symbols), operators)
    return tokens_BT, values


def _write_expressions(
    random: np.random.Generator, flat: Tokens, starts: Tokens, sizes: Tokens, operators: int
) -> Tokens:
    """Write one expression into each slice of the flat batch, all of one depth at once, and return the values.

    A pair of brackets with its operator takes three symbols and leaves each side at least one, so the recursion is less
    deep than a quarter of the symbols.
    """
    values = np.empty(len(starts), dtype=np.int64)
    short = sizes < 5
    values[short] = _write_short(random, flat, starts[short], sizes[short])
    if short.all():
        return values
    start, size = starts[~short], sizes[~short]
    left = random.integers(1, size - 3)
    operator = random.integers(0, operators, len(start))
    flat[start], flat[start + 1 + left], flat[start + size - 1] = OPEN, OPERATORS[operator], CLOSE
    inner_starts = np.concatenate([start + 1, start + 2 + left])
    inner_sizes = np.concatenate([left, size - 3 - left])
    first, second = np.split(_write_expressions(random, flat, inner_starts, inner_sizes, operators), 2)
    values[~short] = np.choose(operator, [first + second, first - second, first * second]) % MODULUS
    return values


def _write_short(random: np.random.Generator, flat: Tokens, starts: Tokens, sizes: Tokens) -> Tokens:
    """Write ``d``, ``-d``, ``(d)`` or ``(-d)``, depending on the size of the slice, 1 to 4, and return the values."""
    digits = random.integers(0, MODULUS, len(starts))
    bracketed, negative = sizes >= 3, sizes % 2 == 0
    flat[starts[bracketed]] = OPEN
    flat[(starts + sizes - 1)[bracketed]] = CLOSE
    flat[(starts + bracketed)[negative]] = MINUS
    flat[starts + bracketed + negative] = digits
    return np.where(negative, -digits, digits) % MODULUS


def evaluate_expression(expression: str) -> int:
    """Evaluate an expression by replacing innermost brackets with their value until none is left; for solvers.

    Args:
        expression: The expression as text.

    Returns:
        The value modulo 5.
    """
    while "(" in expression:
        expression = INNERMOST.sub(_evaluate_innermost, expression)
    return int(expression) % MODULUS


def _evaluate_innermost(match: re.Match[str]) -> str:
    """Evaluate brackets that contain no others."""
    first, operator, second = int(match[1]), match[2], int(match[3] or 0)
    results = {None: first, "+": first + second, "-": first - second, "*": first * second}
    return str(results[operator] % MODULUS)
