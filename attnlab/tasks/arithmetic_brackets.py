"""Modular arithmetic with brackets: the value of a nested expression, modulo 5.

    inputs   (  3  *  (  -  4  )  )      3 * (-4) = 3 mod 5
    answers  .  .  .  .  .  .  .  3

An expression of at least five symbols is ``( left operator right )``, where the length of the left one is uniform over
all that leave the right one a symbol, and the operator is uniform over ``+ - *``. Shorter ones are ``d``, ``-d``,
``(d)`` and ``(-d)``, for a uniform digit d. So every expression has exactly the length that is asked for.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (modular_arithmetic_brackets).
Differs  the answer is due on the last symbol itself, without a placeholder; the ids have another order.
Chance   the published one, of a uniform guess. A product with a factor 0 is 0, so 0 is likelier: 0.25 with five
         symbols, 0.29 with forty.
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
        symbols: Length of the expression, brackets and operators included.
    """

    complexity = "symbols"

    def __init__(self, *, symbols: Annotated[int, Field(ge=1)] = 5) -> None:
        self.symbols = symbols
        self.vocabulary, self.length, self.chance = len(SYMBOLS), symbols, 1 / MODULUS

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Expressions and their values."""
        inputs_BT, values = expressions(random, batch, self.symbols, operators=3)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = values
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Work from the inside out."""
        return [IGNORE] * (len(tokens) - 1) + [value("".join(map(self.token_to_str, tokens)))]

    def token_to_str(self, token: int) -> str:
        """Digits, operators and brackets as they are written."""
        return SYMBOLS[token]


def expressions(random: np.random.Generator, batch: int, symbols: int, operators: int) -> tuple[Tokens, Tokens]:
    """Expressions of that many symbols with the first so many operators of ``+ - *``, and their values; B x T, B."""
    tokens_BT = np.empty((batch, symbols), dtype=np.int64)
    starts = symbols * np.arange(batch)
    values = _written(random, tokens_BT.reshape(-1), starts, np.full(batch, symbols), operators)
    return tokens_BT, values


def _written(random: np.random.Generator, flat: Tokens, starts: Tokens, sizes: Tokens, operators: int) -> Tokens:
    """Write one expression into each stretch of the flat batch, all of one depth at once; return the values.

    A level takes three symbols and leaves each side at least one, so levels are fewer than a quarter of the symbols.
    """
    values = np.empty(len(starts), dtype=np.int64)
    short = sizes < 5
    values[short] = _digits(random, flat, starts[short], sizes[short])
    if short.all():
        return values
    start, size = starts[~short], sizes[~short]
    left = random.integers(1, size - 3)
    operator = random.integers(0, operators, len(start))
    flat[start], flat[start + 1 + left], flat[start + size - 1] = OPEN, OPERATORS[operator], CLOSE
    inner_starts = np.concatenate([start + 1, start + 2 + left])
    inner_sizes = np.concatenate([left, size - 3 - left])
    one, other = np.split(_written(random, flat, inner_starts, inner_sizes, operators), 2)
    values[~short] = np.choose(operator, [one + other, one - other, one * other]) % MODULUS
    return values


def _digits(random: np.random.Generator, flat: Tokens, starts: Tokens, sizes: Tokens) -> Tokens:
    """Write ``d``, ``-d``, ``(d)`` or ``(-d)`` by the size of the stretch, 1 to 4; return the values."""
    digits = random.integers(0, MODULUS, len(starts))
    bracketed, negative = sizes >= 3, sizes % 2 == 0
    flat[starts[bracketed]] = OPEN
    flat[(starts + sizes - 1)[bracketed]] = CLOSE
    flat[(starts + bracketed)[negative]] = MINUS
    flat[starts + bracketed + negative] = digits
    return np.where(negative, -digits, digits) % MODULUS


def value(written: str) -> int:
    """Replace innermost brackets by their value until none is left; for solvers."""
    while "(" in written:
        written = INNERMOST.sub(_inner, written)
    return int(written) % MODULUS


def _inner(result: re.Match[str]) -> str:
    one, operator, other = int(result[1]), result[2], int(result[3] or 0)
    results = {None: one, "+": one + other, "-": one - other, "*": one * other}
    return str(results[operator] % MODULUS)
