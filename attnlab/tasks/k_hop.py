"""k-hop induction: from each letter, follow k hops back through the string and read the letter there.

    inputs    1  a  b  c  a  d  c  a
    targets   .  .  .  .  b  .  a  d      in validation and test
    training  .  ~  ~  ~  b  ~  a  d

The first token is the number of hops k. Letters are uniform, but none equals the one before it. One hop from a
position goes to the latest earlier occurrence of its letter, and from there to the position after that occurrence. The
target at a position is the letter k hops from it, the letter itself if k is 0. Where an occurrence is missing on the
way, the target in training is ~ (undefined), and validation and test have none; ``loss: defined`` leaves ~ out of
training too. A string in which no position has a letter as target is drawn again.

All sequences have ``hops`` hops, or, with ``fewest_hops``, each a uniform number from there to ``hops``. Chance is a
blind guess among the letters. One that looks at the letter of the position rules it out after one hop, and is then
right once in three times for four letters.

Source   Sanford, Hsu and Telgarsky, "Transformers, parallel computation, and logarithmic depth", arXiv:2402.09268, and
         its code.
Theirs   k -> hops, 0 .. 16 in training; 98 letters of an alphabet of 4; N = 100.
Differs  the string has no end symbol; the position of k itself has no target.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Literal, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Split, Task, Tokens, register
from attnlab.tasks.ops.chance import draw_samples


@register("k-hop", source="arXiv:2402.09268")
@final
class KHop(Task):
    """Predict the letter that k hops back through earlier occurrences lead to.

    Options:
        hops: Hops of a sequence, or the most of them.
        fewest_hops: Each sequence has a uniform number of hops from here on; None takes ``hops`` for all.
        most_hops: The largest number of hops that has a token.
        letters: Letters of the string.
        alphabet: Letters to draw from.
        loss: ``everywhere`` trains on undefined targets too, ``defined`` on the others alone.
    """

    complexity = "hops"

    def __init__(
        self,
        *,
        hops: Annotated[int, Field(ge=0)] = 1,
        fewest_hops: Annotated[int, Field(ge=0)] | None = None,
        most_hops: Annotated[int, Field(ge=0)] = 16,
        letters: Annotated[int, Field(ge=2)] = 98,
        alphabet: Annotated[int, Field(ge=3)] = 4,
        loss: Literal["everywhere", "defined"] = "everywhere",
    ) -> None:
        self.fewest_hops = hops if fewest_hops is None else fewest_hops
        if self.fewest_hops > hops:
            problem = f"At least {self.fewest_hops} hops are more than {hops}, the most."
            raise InvalidValueError(problem, f"Use fewest_hops of at most {hops}.", where="k-hop")
        if hops > most_hops:
            hint = f"Use at most {most_hops} hops, or most_hops of at least {hops}."
            raise InvalidValueError(f"{hops} hops have no token.", hint, where="k-hop")
        if letters < (needed := alphabet * (hops + 1)):
            problem = (
                f"{hops} hops are rarely defined in {letters} letters: a hop goes back by {alphabet - 1} on average."
            )
            hint = f"Use at least {needed} letters"
            hint += f", or at most {letters // alphabet - 1} hops." if letters >= alphabet else "."
            raise InvalidValueError(problem, hint, where="k-hop")
        self.hops, self.letters, self.alphabet = hops, letters, alphabet
        self.asks_more_in_training = loss == "everywhere"
        self.asks_undefined = False
        self.length = 1 + letters
        self.undefined = alphabet
        self.vocabulary = alphabet + 1 + most_hops + 1
        self.intended_shortcut = "nearest context" if hops == 1 else ""

    def for_split(self, split: Split) -> Self:
        """The task itself; for training, with ~ as the target where the letter is undefined, unless left out."""
        split_task = copy.copy(self)
        split_task.asks_undefined = split is Split.TRAIN and self.asks_more_in_training
        return split_task

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Sequences of the test: those of training may have further targets."""
        return draw_samples(self, Split.TEST)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw numbers of hops and strings; strings without a target are drawn again."""
        hops = random.integers(self.fewest_hops, self.hops + 1, batch)
        letters, reached = self._draw(random, hops)
        while len(again := np.flatnonzero((reached < 0).all(axis=1))):
            letters[again], reached[again] = self._draw(random, hops[again])
        inputs_BT = np.concatenate([self.undefined + 1 + hops[:, None], letters], axis=1)
        targets_BT = np.full_like(inputs_BT, IGNORE)
        answers = np.take_along_axis(letters, np.maximum(reached, 0), axis=1)
        targets_BT[:, 1:] = np.where(reached >= 0, answers, self.undefined if self.asks_undefined else IGNORE)
        return Batch(inputs_BT, targets_BT)

    def _draw(self, random: np.random.Generator, hops: Tokens) -> tuple[Tokens, Tokens]:
        """Letters, and the position that the hops from each position reach, or -1; both B x letters."""
        batch, size = len(hops), self.letters
        steps = random.integers(1, self.alphabet, (batch, size))
        steps[:, 0] = random.integers(0, self.alphabet, batch)
        letters = np.cumsum(steps, axis=1) % self.alphabet
        one_hop = np.full((batch, size + 1), -1)  # the last column is where undefined positions lead: to themselves
        order = np.arange(size)
        for letter in range(self.alphabet):
            here = letters == letter
            latest = np.maximum.accumulate(np.where(here, order, -2), axis=1)
            earlier = np.concatenate([np.full((batch, 1), -2), latest[:, :-1]], axis=1)
            one_hop[:, :-1] = np.where(here, earlier + 1, one_hop[:, :-1])
        # Rows with more hops first, so that each round is for the rows that still have a hop before them.
        rows = np.argsort(-hops, kind="stable")
        sorted_hops, one_hop = hops[rows], one_hop[rows]
        reached = np.tile(order, (batch, 1))
        for hop in range(int(hops.max(initial=0))):
            going = int(np.searchsorted(-sorted_hops, -hop, side="left"))
            reached[:going] = np.take_along_axis(one_hop[:going], reached[:going], axis=1)
        result = np.empty_like(reached)
        result[rows] = reached
        return letters, result

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Note where each letter leads, then follow the notes."""
        hops, letters = tokens[0] - self.undefined - 1, list(tokens[1:])
        latest, leads_to, targets = dict[int, int](), list[int | None](), [IGNORE]
        for position, letter in enumerate(letters):
            leads_to.append(latest[letter] + 1 if letter in latest else None)
            latest[letter] = position
        for start in range(len(letters)):
            reached: int | None = start
            for _ in range(hops):
                reached = None if reached is None else leads_to[reached]
            targets.append(IGNORE if reached is None else letters[reached])
        return targets

    def token_to_str(self, token: int) -> str:
        """Letters a .. z, then numbered; a tilde for undefined; hops as numbers."""
        if token > self.undefined:
            return str(token - self.undefined - 1)
        if token == self.undefined:
            return "~"
        return chr(ord("a") + token) if token < 26 else f"a{token}"
