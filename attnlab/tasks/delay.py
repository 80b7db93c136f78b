"""Delay: continue a recursion that combines the last symbol and an earlier one.

    x_t = (x_{t-1} + x_{t-lag}) mod N              N = 5, lag = 3
    inputs   3  1  4  2  3  2
    targets  .  .  2  3  2  4

    sum        c_1 x_{t-l_1} + c_2 x_{t-l_2} + ...  mod N
    product    x_{t-l_1} x_{t-l_2} ...              mod N
    copy       x_{t-lag}
    xor, and, or, majority                          of bits, N = 2

Lags are 1 and ``lag`` if no others are given. The first symbols, as many as the longest lag, are uniform (in a product,
over the numbers coprime to N). A position is supervised only where the past determines its target. Sums, products,
copies and xor return from any initial state to it, and all their symbols are uniform. Difficulty depends on the cycle
structure of the recursion, not on N^lag alone: a sequence longer than its cycle can be copied from itself, and N = 10
has longer cycles than N = 12. A product modulo a prime p has the cycles of the sum modulo p - 1. And, or and majority
soon become constant or periodic; their chance accuracy is at least that of always the more frequent bit, exactly.

Training and test share the initial states, of which there are only N^lag.

Source   our own family, in the spirit of the autoregressive prediction tasks of Gros, arXiv:2407.18601, whose exact
         definitions are not known to us.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from math import gcd, prod
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.sizes import MAX_STEPS
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

BITWISE = ("and", "or", "majority")
UNROLLED = 2**22
"""Linear recursions are unrolled into a matrix of at most so many numbers; larger ones are taken step by step."""
MAX_BITWISE_LAG = 16
"""Largest lag of these kinds: their chance accuracy is computed over all initial states."""


@register("delay", source="ours, in the spirit of arXiv:2407.18601")
@final
class Delay(Task):
    """Predict a sequence in which each symbol is a sum of two earlier ones, modulo N, or another combination.

    Options:
        modulus: N, the number of symbols.
        lag: Distance to the second symbol.
        length: Tokens of a sequence.
        kind: How the earlier symbols are combined.
        lags: Distance to each of them, in ascending order; replaces lag.
        coefficients: Factor of each of them in a sum; ones if none are given.
        answers: Supervised positions of a sequence; if given, the length follows from it.
    """

    complexity = "modulus"
    max_length = 16 * MAX_STEPS

    def __init__(
        self,
        *,
        modulus: Annotated[int, Field(ge=2)] = 5,
        lag: Annotated[int, Field(ge=2)] = 3,
        length: Annotated[int, Field(ge=2)] = 32,
        kind: Literal["sum", "product", "copy", "xor", "and", "or", "majority"] = "sum",
        lags: tuple[Annotated[int, Field(ge=1)], ...] = (),
        coefficients: tuple[int, ...] = (),
        answers: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.lags = lags or ((lag,) if kind == "copy" else (1, lag))
        self.span = self.lags[-1]
        self.modulus, self.kind = modulus, kind
        self.length = self.span - 1 + answers if answers else length
        if self.span > self.length:
            problem = f"With a lag of {self.span}, no position of {length} tokens is supervised."
            raise InvalidValueError(problem, f"Use a lag of at most {length}.", where="delay")
        self._check(coefficients)
        self.coefficients = coefficients or (1,) * len(self.lags)
        symbols = np.arange(modulus)
        self.start_symbols = symbols if kind != "product" else symbols[np.gcd(symbols, modulus) == 1]
        self.vocabulary = modulus

    def _check(self, coefficients: Sequence[int]) -> None:
        """Refuse options that cannot be combined."""
        lags, modulus, kind = self.lags, self.modulus, self.kind
        problem = hint = ""
        if any(first >= second for first, second in pairwise(lags)):
            problem, hint = f"The lags {list(lags)} are not in ascending order.", f"Write {sorted(set(lags))}."
        elif kind in ("xor", *BITWISE) and modulus != 2:
            problem, hint = f"'{kind}' combines bits, not symbols modulo {modulus}.", "Use a modulus of 2."
        elif kind == "product" and modulus == 2:
            problem, hint = "Products modulo 2 are all equal.", "Use a modulus of at least 3."
        elif kind == "copy" and len(lags) > 1:
            problem, hint = f"A copy has one lag, not {len(lags)}.", f"Write [{lags[0]}]."
        elif kind == "majority" and len(lags) % 2 == 0:
            problem = f"A majority of {len(lags)} symbols can be tied."
            hint = "Give an odd number of lags, such as [1, 2, 3]."
        elif kind in BITWISE and self.span > MAX_BITWISE_LAG:
            problem = f"The lag {self.span} of '{kind}' is more than {MAX_BITWISE_LAG}."
            hint = f"Use at most {MAX_BITWISE_LAG}."
        elif coefficients and kind != "sum":
            problem, hint = f"'{kind}' takes no coefficients.", "Leave them out, or use the kind 'sum'."
        elif coefficients and len(coefficients) != len(lags):
            problem = f"{len(coefficients)} coefficients are given for {len(lags)} lags."
            hint = "Give one coefficient for each lag."
        elif coefficients and gcd(coefficients[-1], modulus) > 1:
            problem = f"The last coefficient, {coefficients[-1]}, and the modulus {modulus} have a common divisor."
            hint = "Use 1 or another coefficient without one, so that each initial state has its own sequence."
        if problem:
            raise InvalidValueError(problem, hint, where="delay")

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform initial states and continue them."""
        start = self.start_symbols[random.integers(0, len(self.start_symbols), (batch, self.span))]
        symbols = self.continue_from(start)
        inputs_BT = symbols[:, :-1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.span - 1 :] = symbols[:, self.span :]
        return Batch(inputs_BT, targets_BT)

    def continue_from(self, start: Tokens) -> Tokens:
        """Continue initial states.

        Args:
            start: The first symbols, B x span, where span is the longest lag.

        Returns:
            All symbols, including the target of the last token, B x (length + 1).
        """
        if self.unrolled is not None:
            return start @ self.unrolled % self.modulus
        symbols = np.empty((len(start), self.length + 1), dtype=np.int64)
        symbols[:, : self.span] = start
        for position in range(self.span, self.length + 1):
            symbols[:, position] = self._combine([symbols[:, position - lag] for lag in self.lags])
        return symbols

    def _combine(self, earlier: Sequence[Tokens]) -> Tokens:
        """Combine the symbols at the lags."""
        combined = earlier[0]
        if self.kind in ("sum", "xor", "copy"):
            weighted: Tokens = np.einsum("l,lB->B", np.array(self.coefficients), np.stack(earlier))
            return weighted % self.modulus
        if self.kind == "majority":
            return (2 * np.sum(earlier, axis=0) > len(earlier)).astype(np.int64)
        for symbol in earlier[1:]:
            results = {"and": combined & symbol, "or": combined | symbol, "product": combined * symbol % self.modulus}
            combined = results[self.kind]
        return combined

    @cached_property
    def unrolled(self) -> Tokens | None:
        """Each symbol of a linear recursion as a combination of the first ones, mod N, span x (length + 1).

        None of another recursion, and where these are many numbers.
        """
        if self.kind in ("product", *BITWISE) or self.span * self.length > UNROLLED:
            return None
        columns = list(np.eye(self.span, dtype=np.int64))
        for position in range(self.span, self.length + 1):
            terms = [factor * columns[position - lag] for factor, lag in zip(self.coefficients, self.lags, strict=True)]
            columns.append(np.sum(terms, axis=0) % self.modulus)
        return np.stack(columns, axis=1)

    @cached_property
    def chance(self) -> float:
        """That of the best blind guess; for and, or and majority at least that of the more frequent bit, exactly."""
        measured = super().chance
        return max(measured, self._majority_accuracy()) if self.kind in BITWISE else measured

    def _majority_accuracy(self) -> float:
        """Compute the accuracy of always the more frequent bit of each position, over all initial states."""
        numbers = np.arange(2**self.span)[:, None]
        ones = self.continue_from(numbers >> np.arange(self.span) & 1)[:, self.span :].mean(axis=0)
        return float(np.maximum(ones, 1 - ones).mean())

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Combine the symbols at the lags before each next one."""
        targets = []
        for following in range(1, len(tokens) + 1):
            if following < self.span:
                targets.append(IGNORE)
                continue
            earlier = [tokens[following - lag] for lag in self.lags]
            weighted = sum(factor * symbol for factor, symbol in zip(self.coefficients, earlier, strict=True))
            results = {"product": prod(earlier), "and": min(earlier), "or": max(earlier)}
            results["majority"] = int(earlier.count(1) > earlier.count(0))
            targets.append(results.get(self.kind, weighted) % self.modulus)
        return targets
