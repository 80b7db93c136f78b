"""Modular arithmetic with brackets: the value of a nested expression, modulo 5.

    inputs   (  3  *  (  -  4  )  )      3 * (-4) = 3 mod 5
    targets  .  .  .  .  .  .  .  3

An expression of at least five symbols is ``( left operator right )``, where the length of the left side is uniform over
all lengths that leave the right side a symbol, and the operator is uniform over ``+ - *``, or those of them in
``operators``. Shorter ones are ``d``, ``-d``, ``(d)`` and ``(-d)``, for a uniform digit d. Every expression therefore
has exactly the requested length. Digits are below the ``modulus``.

Source   Delétang et al., "Neural networks and the Chomsky hierarchy", arXiv:2207.02098, and its code
         (modular_arithmetic_brackets).
Theirs   modulus -> modulus; mult=False, which is the default of their class -> operators: +-; the paper has mult=True.
Differs  the target is at the last symbol itself, without a placeholder; the ids have another order.
Chance   the published one is 1/5. A product with a factor 0 is 0, so 0 is more frequent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, final

import numpy as np
from pydantic import Field

from attnlab.tasks.arithmetic import MODULUS, OPERATORS, Modulus, Operators, operator_indices
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

SIGNS = "+-()*"
MINUS, OPEN, CLOSE = 1, 2, 3
"""Ids of signs, counted from the modulus."""
OPERATOR_SIGNS = np.array([SIGNS.index(operator) for operator in OPERATORS])
INNERMOST = re.compile(r"\((-?\d+)(?:([-+*])(-?\d+))?\)")


@register("modular-arithmetic-brackets", source="arXiv:2207.02098, modular arithmetic")
@final
class ModularArithmeticBrackets(Task):
    """Compute nested sums, differences and products, modulo 5.

    Options:
        symbols: Length of the expression, including brackets and operators.
        modulus: The modulus; digits are below it.
        operators: The operators that are used, some of ``+-*``.
    """

    complexity = "symbols"
    original_options: ClassVar[Mapping[str, str]] = {
        "mult": f"Write operators='+-' for mult=False; mult=True is the default here, operators='{OPERATORS}'."
    }

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=1)] = 5,
        modulus: Modulus = MODULUS,
        operators: Operators = OPERATORS,
    ) -> None:
        self.symbols, self.modulus = symbols, modulus
        self.operators = operator_indices(operators, "modular-arithmetic-brackets")
        self.vocabulary, self.length = modulus + len(SIGNS), symbols

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw expressions; the target of the last symbol is the value."""
        inputs_BT, values = sample_expressions(random, batch, self.symbols, self.operators, self.modulus)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = values
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Evaluate from the innermost brackets outward."""
        text = "".join(map(self.token_to_str, tokens))
        return [IGNORE] * (len(tokens) - 1) + [evaluate_expression(text, self.modulus)]

    def token_to_str(self, token: int) -> str:
        """Digits, operators and brackets as written."""
        return str(token) if token < self.modulus else SIGNS[token - self.modulus]


def sample_expressions(
    random: np.random.Generator, batch: int, symbols: int, operators: Tokens, modulus: int
) -> tuple[Tokens, Tokens]:
    """Draw expressions of a given length.

    Args:
        random: The only source of randomness.
        batch: B, the number of expressions.
        symbols: T, the length of each expression.
        operators: Indices in ``+-*`` of the operators that are used.
        modulus: The modulus; the ids of the signs follow those of the digits.

    Returns:
        Expressions, B x T, and their values, B.
    """
    tokens_BT = np.empty((batch, symbols), dtype=np.int64)
    starts = symbols * np.arange(batch)
    values = _write_expressions(random, tokens_BT.reshape(-1), starts, np.full(batch, symbols), operators, modulus)
    return tokens_BT, values


def _write_expressions(
    random: np.random.Generator, flat: Tokens, starts: Tokens, sizes: Tokens, operators: Tokens, modulus: int
) -> Tokens:
    """Write one expression into each slice of the flat batch, all of one depth at once, and return the values.

    A pair of brackets with its operator takes three symbols and leaves each side at least one, so the recursion is less
    deep than a quarter of the symbols.
    """
    values = np.empty(len(starts), dtype=np.int64)
    short = sizes < 5
    values[short] = _write_short(random, flat, starts[short], sizes[short], modulus)
    if short.all():
        return values
    start, size = starts[~short], sizes[~short]
    left = random.integers(1, size - 3)
    operator = operators[random.integers(0, len(operators), len(start))]
    flat[start], flat[start + size - 1] = modulus + OPEN, modulus + CLOSE
    flat[start + 1 + left] = modulus + OPERATOR_SIGNS[operator]
    inner_starts = np.concatenate([start + 1, start + 2 + left])
    inner_sizes = np.concatenate([left, size - 3 - left])
    both = _write_expressions(random, flat, inner_starts, inner_sizes, operators, modulus)
    first, second = np.split(both, 2)
    values[~short] = np.choose(operator, [first + second, first - second, first * second]) % modulus
    return values


def _write_short(random: np.random.Generator, flat: Tokens, starts: Tokens, sizes: Tokens, modulus: int) -> Tokens:
    """Write ``d``, ``-d``, ``(d)`` or ``(-d)``, depending on the size of the slice, 1 to 4, and return the values."""
    digits = random.integers(0, modulus, len(starts))
    bracketed, negative = sizes >= 3, sizes % 2 == 0
    flat[starts[bracketed]] = modulus + OPEN
    flat[(starts + sizes - 1)[bracketed]] = modulus + CLOSE
    flat[(starts + bracketed)[negative]] = modulus + MINUS
    flat[starts + bracketed + negative] = digits
    return np.where(negative, -digits, digits) % modulus


def evaluate_expression(expression: str, modulus: int) -> int:
    """Evaluate an expression by replacing innermost brackets with their value until none is left; for solvers.

    Args:
        expression: The expression as text.
        modulus: The modulus.

    Returns:
        The value.
    """

    def value(match: re.Match[str]) -> str:
        """Evaluate brackets that contain no others."""
        first, operator, second = int(match[1]), match[2], int(match[3] or 0)
        results = {None: first, "+": first + second, "-": first - second, "*": first * second}
        return str(results[operator] % modulus)

    while "(" in expression:
        expression = INNERMOST.sub(value, expression)
    return int(expression) % modulus
