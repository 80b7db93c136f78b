"""Dyck words: which bracket closes next?

    inputs   (  [  ]  (  [  ]  )
    targets  .  ]  .  .  ]  )  )         the word is ( [ ] ( [ ] ) )

A word is drawn uniformly from all well-nested words of its length that never have more than ``depth`` open brackets.
The kind of each pair is uniform. Whether the next bracket opens or closes is random, so positions before an opening
bracket are not supervised. Before a closing bracket, the target is the bracket of that kind: the kind of the last
bracket that is still open. About half of the brackets close right after they open; there the target is determined by
the last token.

Source   Hewitt et al., "RNNs can generate bounded hierarchical languages with optimal memory", arXiv:2010.07515
         (Dyck-(k, m): k kinds, at most m open; ours: kinds, depth).
Differs  words are uniform over those of one length; the supervised positions are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.sizes import MAX_STEPS
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, register

BRACKETS = ("()", "[]", "{}", "<>")

MAX_STATES = 2**22
"""The most positions, times open brackets, of a word of bounded depth: one probability is kept for each."""
EXACT = 512
"""Words of up to so many pairs are counted in integers; in longer ones rounding changes the shares by 1e-12."""


@register("dyck", source="arXiv:2010.07515")
@final
class Dyck(Task):
    """Predict which bracket closes next, in nested brackets of several kinds.

    Options:
        pairs: Number of bracket pairs in a word.
        kinds: Number of kinds of brackets.
        depth: Largest number of open brackets; null for no limit.
    """

    complexity = "pairs"
    max_length = 8 * MAX_STEPS

    def __init__(
        self,
        *,
        pairs: Annotated[int, Field(ge=1)] = 8,
        kinds: Annotated[int, Field(ge=2)] = 4,
        depth: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.pairs, self.kinds = pairs, kinds
        self.vocabulary, self.length, self.chance = 2 * kinds, 2 * pairs - 1, 1 / kinds
        self.depth = depth if depth is not None and depth < pairs else None
        if self.depth and 2 * pairs * self.depth > MAX_STATES:
            problem = f"{pairs} pairs of which at most {depth} are open have {2 * pairs * self.depth:,} states."
            hint = f"Use a depth of at most {MAX_STATES // (2 * pairs)}, or null for no limit."
            raise InvalidValueError(problem, hint, where="dyck")

    @cached_property
    def opening(self) -> NDArray[np.float64] | None:
        """The probability that the next bracket opens, by position and open brackets; None where any may be open."""
        return opening_probabilities(self.pairs, self.depth) if self.depth else None

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw words bracket by bracket; positions before a closing bracket are supervised."""
        shape = batch, 2 * self.pairs
        kinds = random.integers(0, self.kinds, shape)
        luck = np.ascontiguousarray(random.random(shape).T)
        levels, opens = np.empty(shape[::-1], dtype=np.int64), np.empty(shape[::-1], dtype=np.bool_)
        height = np.zeros(batch, dtype=np.int64)
        for position in range(2 * self.pairs):
            left = 2 * self.pairs - position
            opening = opening_probability(left, height) if self.opening is None else self.opening[position, height]
            levels[position], opens[position] = height, luck[position] < opening
            height += 2 * opens[position] - 1
        # Brackets of one level take turns to open and to close: each that closes follows its own in their order.
        order = np.argsort((levels - ~opens).T, axis=1, kind="stable")
        ordered, closes = np.take_along_axis(kinds, order, axis=1), np.take_along_axis(~opens.T, order, axis=1)
        ordered = np.where(closes, self.kinds + np.roll(ordered, 1, axis=1), ordered)
        word = np.empty_like(kinds)
        np.put_along_axis(word, order, ordered, axis=1)
        return Batch(word[:, :-1], self._closing(word))

    def _closing(self, word: Tokens) -> Tokens:
        """Return the targets: the next bracket where it closes, otherwise IGNORE."""
        following = word[:, 1:]
        return np.where(following >= self.kinds, following, IGNORE)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Keep a stack of open brackets; before a closing bracket and at the end, the top of the stack closes."""
        targets, stack = [], list[int]()
        for token, following in zip(tokens, [*tokens[1:], self.kinds], strict=True):
            if stack and token == stack[-1] + self.kinds:
                stack.pop()
            else:
                stack.append(token)
            targets.append(stack[-1] + self.kinds if following >= self.kinds else IGNORE)
        return targets

    def token_to_str(self, token: int) -> str:
        """Four kinds as ( [ { <; further kinds are numbered, as in (5 and 5)."""
        kind, closes = token % self.kinds, token >= self.kinds
        if kind < len(BRACKETS):
            return BRACKETS[kind][closes]
        return f"{kind + 1})" if closes else f"({kind + 1}"


def opening_probability(left: int, height: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the probability that the next bracket of a uniform word opens, where any number may be open.

    By the ballot theorem, ``(h + 2) (r - h) / (2 r (h + 1))`` with r brackets left and h of them open.

    Args:
        left: Brackets left, at least 1.
        height: Number of open brackets, any shape.

    Returns:
        The probabilities, of the same shape.
    """
    return (height + 2) * (left - height) / (2 * left * (height + 1))


def opening_probabilities(pairs: int, depth: int) -> NDArray[np.float64]:
    """Compute the probability that the next bracket of a uniform word of bounded depth opens.

    It is the share of the possible continuations of the word that begin with an opening bracket. They are counted
    exactly in words of up to :data:`EXACT` pairs, and up to a common factor in longer ones.

    Args:
        pairs: Number of bracket pairs in the word.
        depth: Largest number of open brackets.

    Returns:
        Probabilities by position and number of open brackets, (2 pairs) x (depth + 1).
    """
    ways = np.zeros(depth + 1, dtype=object if pairs <= EXACT else np.float64)
    ways[0] = 1
    probabilities = np.zeros((2 * pairs, depth + 1))
    for position in reversed(range(2 * pairs)):
        up, down = np.roll(ways, -1), np.roll(ways, 1)
        up[depth] = down[0] = 0
        ways = up + down
        possible = ways != 0
        probabilities[position, possible] = up[possible] / ways[possible]
        if pairs > EXACT:
            ways = ways / ways.max()
    return probabilities
