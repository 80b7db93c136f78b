"""Delay: continue a recursion that combines the last symbol and one from further back.

    x_t = (x_{t-1} + x_{t-lag}) mod N              N = 5, lag = 3
    inputs   3  1  4  2  3  2
    answers  .  .  2  3  2  4

    sum        c_1 x_{t-l_1} + c_2 x_{t-l_2} + ...  mod N
    product    x_{t-l_1} x_{t-l_2} ...              mod N
    copy       x_{t-lag}
    xor, and, or, majority                          of bits, N = 2

Lags are 1 and ``lag`` if no others are given. The first symbols, as many as the longest lag, are uniform, in a product
over the numbers that share no divisor with N; an answer is due only where the past determines it. Sums, products,
copies and xor lead from any beginning back to it, and all their symbols are uniform. Difficulty follows the cycle
structure of the recursion, not N^lag alone: a sequence longer than its cycle can be copied from itself, and N = 10 has
longer cycles than N = 12. A product modulo a prime p has the cycles of the sum modulo p - 1. And, or and majority soon
stand still or repeat themselves; there chance is the exact share of always the likelier bit.

Training and test share what few beginnings there are: N^lag.

Source   our own family, in the spirit of the autoregressive prediction tasks of Gros, arXiv:2407.18601, whose exact
         definitions are not known to us.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd, prod
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register

BITWISE = ("and", "or", "majority")
FARTHEST = 16
"""Lag of these, at most: their chance is counted over all beginnings."""


@register("delay", source="ours, in the spirit of arXiv:2407.18601")
@final
class Delay(Task):
    """Predict a sequence in which each symbol is a sum of two earlier ones, modulo N, or another combination.

    Options:
        modulus: N, the number of symbols.
        lag: How far back the second symbol lies.
        length: Tokens of a sequence.
        kind: How the earlier symbols combine.
        lags: How far back each of them lies, rising; stands over lag.
        coefficients: What each of them is multiplied with in a sum; ones if none are given.
        answers: Questions of a sequence; if given, the length follows from it.
    """

    complexity = "modulus"

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
            result, hint = f"A lag of {self.span} asks nothing within {length} tokens.", f"Use at most {length}."
            raise InvalidValueError(result, hint, where="delay")
        self._check(coefficients)
        self.coefficients = coefficients or (1,) * len(self.lags)
        units = [symbol for symbol in range(modulus) if kind != "product" or gcd(symbol, modulus) == 1]
        self.beginnings = np.array(units)
        self.vocabulary = modulus
        self.unrolled = None if kind in ("product", *BITWISE) else self._unroll()
        self.chance = self._likelier() if kind in BITWISE else 1 / len(units)

    def _check(self, coefficients: Sequence[int]) -> None:
        """Refuse what does not go together."""
        lags, modulus, kind = self.lags, self.modulus, self.kind
        result = hint = ""
        if any(one >= other for one, other in pairwise(lags)):
            result, hint = f"The lags {list(lags)} do not rise.", f"Write {sorted(set(lags))}."
        elif kind in ("xor", *BITWISE) and modulus != 2:
            result, hint = f"'{kind}' combines bits, not symbols modulo {modulus}.", "Use a modulus of 2."
        elif kind == "product" and modulus == 2:
            result, hint = "Products modulo 2 are all alike.", "Use a modulus of at least 3."
        elif kind == "copy" and len(lags) > 1:
            result, hint = f"A copy has one lag, not {len(lags)}.", f"Write [{lags[0]}]."
        elif kind == "majority" and len(lags) % 2 == 0:
            result, hint = (
                f"A majority of {len(lags)} may be undecided.",
                "Give an odd number of lags, as in [1, 2, 3].",
            )
        elif kind in BITWISE and self.span > FARTHEST:
            result, hint = f"The lag {self.span} of '{kind}' is more than {FARTHEST}.", f"Use at most {FARTHEST}."
        elif coefficients and kind != "sum":
            result, hint = f"'{kind}' has no coefficients.", "Leave them out, or use the kind 'sum'."
        elif coefficients and len(coefficients) != len(lags):
            result = f"{len(coefficients)} coefficients do not fit {len(lags)} lags."
            hint = "Give one for each lag."
        elif coefficients and gcd(coefficients[-1], modulus) > 1:
            result = f"The last coefficient, {coefficients[-1]}, and the modulus {modulus} share a divisor: beginnings"
            result, hint = f"{result} would be forgotten.", "Use 1, or another without a common divisor."
        if result:
            raise InvalidValueError(result, hint, where="delay")

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform beginnings, and what follows from them."""
        start = self.beginnings[random.integers(0, len(self.beginnings), (batch, self.span))]
        symbols = self.continued(start)
        inputs_BT = symbols[:, :-1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.span - 1 :] = symbols[:, self.span :]
        return Batch(inputs_BT, targets_BT)

    def continued(self, start: Tokens) -> Tokens:
        """Beginnings and all that follows, with the answer to the last token: B x (length + 1)."""
        if self.unrolled is not None:
            return start @ self.unrolled % self.modulus
        symbols = np.empty((len(start), self.length + 1), dtype=np.int64)
        symbols[:, : self.span] = start
        for place in range(self.span, self.length + 1):
            symbols[:, place] = self._combined([symbols[:, place - lag] for lag in self.lags])
        return symbols

    def _combined(self, earlier: Sequence[Tokens]) -> Tokens:
        result = earlier[0]
        if self.kind == "majority":
            return (2 * np.sum(earlier, axis=0) > len(earlier)).astype(np.int64)
        for symbol in earlier[1:]:
            joined = {"and": result & symbol, "or": result | symbol, "product": result * symbol % self.modulus}
            result = joined[self.kind]
        return result

    def _unroll(self) -> Tokens:
        """How each symbol of a sum follows from the first ones: coefficients mod N, span x (length + 1).

        Unrolled, all symbols come at once: each is a fixed combination of the beginning.
        """
        columns = list(np.eye(self.span, dtype=np.int64))
        for place in range(self.span, self.length + 1):
            terms = [by * columns[place - lag] for by, lag in zip(self.coefficients, self.lags, strict=True)]
            columns.append(np.sum(terms, axis=0) % self.modulus)
        return np.stack(columns, axis=1)

    def _likelier(self) -> float:
        """The share of right answers of always the likelier bit of each position, over all beginnings."""
        numbers = np.arange(2**self.span)[:, None]
        ones = self.continued(numbers >> np.arange(self.span) & 1)[:, self.span :].mean(axis=0)
        return float(np.maximum(ones, 1 - ones).mean())

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Combine the symbols at the lags before the next one."""
        answers = []
        for following in range(1, len(tokens) + 1):
            if following < self.span:
                answers.append(IGNORE)
                continue
            earlier = [tokens[following - lag] for lag in self.lags]
            weighed = sum(by * symbol for by, symbol in zip(self.coefficients, earlier, strict=True))
            results = {"product": prod(earlier), "and": min(earlier), "or": max(earlier)}
            results["majority"] = int(earlier.count(1) > earlier.count(0))
            answers.append(results.get(self.kind, weighed) % self.modulus)
        return answers
