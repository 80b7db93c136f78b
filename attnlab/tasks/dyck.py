"""Dyck words: which bracket closes now?

    inputs   (  [  ]  (  [  ]  )
    answers  .  ]  .  .  ]  )  )         the word is ( [ ] ( [ ] ) )

A word is drawn uniformly from all well-nested words of its length that never have more brackets open than ``depth``
says; every pair is of any kind, all as likely. Whether a bracket opens or closes next is chance, so nothing is asked
before one that opens; before one that closes its kind is due: that of the last bracket still open. About half of the
brackets close right after they open; there the answer stands in sight.

Source   Hewitt et al., "RNNs can generate bounded hierarchical languages with optimal memory", arXiv:2010.07515
         (Dyck-(k, m): k kinds, at most m open; ours: kinds, depth).
Differs  words are uniform over those of one length; the positions that are asked are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, register

SHAPES = ("()", "[]", "{}", "<>")


@register("dyck", source="arXiv:2010.07515")
@final
class Dyck(Task):
    """Tell which bracket closes, in nested brackets of several kinds.

    Options:
        pairs: Pairs of brackets in a word.
        kinds: Kinds of brackets.
        depth: Brackets that may be open at once; none for any number.
    """

    complexity = "pairs"

    def __init__(
        self,
        *,
        pairs: Annotated[int, Field(ge=1)] = 8,
        kinds: Annotated[int, Field(ge=2)] = 4,
        depth: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.pairs, self.kinds = pairs, kinds
        self.vocabulary, self.length, self.chance = 2 * kinds, 2 * pairs - 1, 1 / kinds
        self.opening = opening(pairs, min(depth or pairs, pairs))

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Words, drawn bracket by bracket; each is asked before its closing brackets."""
        word = np.empty((batch, 2 * self.pairs), dtype=np.int64)
        fresh = random.integers(0, self.kinds, word.shape)
        luck = random.random(word.shape)
        rows = np.arange(batch)
        open_kinds = np.zeros((batch, self.pairs + 1), dtype=np.int64)
        height = np.zeros(batch, dtype=np.int64)
        for place in range(2 * self.pairs):
            opens = luck[:, place] < self.opening[place, height]
            top = open_kinds[rows, height - 1]
            word[:, place] = np.where(opens, fresh[:, place], self.kinds + top)
            open_kinds[rows, height] = fresh[:, place]  # above the top if it closes: read by nobody
            height += 2 * opens - 1
        return Batch(word[:, :-1], self._closing(word))

    def _closing(self, word: Tokens) -> Tokens:
        following = word[:, 1:]
        return np.where(following >= self.kinds, following, IGNORE)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Cancel pairs; before a bracket that closes, and at the end, the last one that is left must close."""
        answers, left = [], list[int]()
        for token, following in zip(tokens, [*tokens[1:], self.kinds], strict=True):
            if left and token == left[-1] + self.kinds:
                left.pop()
            else:
                left.append(token)
            answers.append(left[-1] + self.kinds if following >= self.kinds else IGNORE)
        return answers

    def token_to_str(self, token: int) -> str:
        """Brackets of four shapes; further kinds are numbered, as in (5 and 5)."""
        kind, closes = token % self.kinds, token >= self.kinds
        if kind < len(SHAPES):
            return SHAPES[kind][closes]
        return f"{kind + 1})" if closes else f"({kind + 1}"


def opening(pairs: int, depth: int) -> NDArray[np.float64]:
    """The probability that a uniform word opens a bracket, by place and brackets open: 2 pairs x (pairs + 1).

    It is the share of the ways to finish the word that begin so; the ways are counted exactly.
    """
    ways = [1] + [0] * (pairs + 1)
    result = np.zeros((2 * pairs, pairs + 1))
    for place in reversed(range(2 * pairs)):
        up = [ways[height + 1] if height < depth else 0 for height in range(pairs + 1)]
        down = [ways[height - 1] if height else 0 for height in range(pairs + 1)]
        ways = [one + other for one, other in zip(up, down, strict=True)] + [0]
        result[place] = [one / both if both else 0 for one, both in zip(up, ways, strict=False)]
    return result
