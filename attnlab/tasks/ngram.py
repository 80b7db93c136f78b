"""In-context n-grams: each sequence has its own table of which letter follows which.

    inputs   2  0  3  1  |  3  1  2  0  |  2  0  3      2 -> 0 -> 3 -> 1 -> 2
    targets  .  .  .  .  .  1  .  0  .  .  0  3  1

The table has one letter for each context of ``order - 1`` letters. It is uniform among the tables in which contexts
that differ only in their oldest letter are followed by different letters. So walks never merge, and all letters stay
equally frequent. A sequence is a row of walks with bars between them. A walk is a uniform context, then ``steps``
letters by the table. The next letter is a target wherever the walk goes on and its context has occurred earlier in a
walk that went on. Other entries of the table have not been shown, and a bar is never a target. The last walk begins
like one of the others, drawn uniformly, so that every sequence has a target; its last letter is a target and is not
part of the input. There are enough walks for ``visits`` steps per context of the table, and at least two. Chance is
that of the alphabet; predicting the most frequent letter of a sequence is slightly better.

Source   ours. Sequences that each have a random table of their own: Edelman et al., "The evolution of statistical
         induction heads", arXiv:2402.11004; walks from one hidden machine, parted by a separator: Akyürek et al.,
         "In-context language learning", arXiv:2401.12973.
Differs  theirs draw each letter from a distribution, which bounds the best achievable accuracy; our tables are
         deterministic, so that every target can be predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall import without_replacement
from attnlab.tasks.recall_stream import earliest

LARGEST = 2**14
"""Contexts of a table, at most."""


@register("ngram", source="ours, after arXiv:2402.11004 and arXiv:2401.12973")
@final
class NGram(Task):
    """Predict the next letter from a table of n-grams that the sequence contains.

    Options:
        alphabet: Number of letters.
        order: n, the letters of a context and the letter after it; 2 gives bigrams.
        steps: Letters drawn from the table in each walk.
        visits: Steps of the sequence per context of the table, on average.
    """

    complexity = "alphabet"

    def __init__(
        self,
        *,
        alphabet: Annotated[int, Field(ge=2)] = 8,
        order: Annotated[int, Field(ge=2)] = 2,
        steps: Annotated[int, Field(ge=1)] = 4,
        visits: Annotated[int, Field(ge=1)] = 3,
    ) -> None:
        self.alphabet, self.context, self.steps = alphabet, order - 1, steps
        self.contexts = alphabet**self.context
        if self.contexts > LARGEST:
            largest = int(LARGEST ** (1 / self.context) + 1e-9)
            problem = f"{alphabet} letters have {alphabet}^{self.context} contexts, more than {LARGEST}."
            raise InvalidValueError(problem, f"Use at most {largest} letters, or a lower order.", where="ngram")
        self.walks = max(2, -(-visits * self.contexts // steps))
        self.vocabulary = alphabet + 1
        self.length = self.walks * (self.context + steps + 1) - 2

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw tables and walks, one step of all walks at a time; the last letter and the last bar are left out."""
        table = self._tables(random, batch)
        rows, width = np.arange(batch)[:, None], self.context + self.steps + 1
        walks = np.full((batch, self.walks, width), self.alphabet)
        walks[:, :, : self.context] = random.integers(0, self.alphabet, (batch, self.walks, self.context))
        again = random.integers(0, self.walks - 1, batch)
        walks[:, -1, : self.context] = walks[rows[:, 0], again, : self.context]
        powers = self.alphabet ** np.arange(self.context)[::-1]
        state = walks[:, :, : self.context] @ powers
        states = np.empty((batch, self.walks, self.steps), dtype=np.int64)
        for step in range(self.steps):
            states[:, :, step] = state
            letter = table[rows, state]
            walks[:, :, self.context + step] = letter
            state = (state * self.alphabet + letter) % self.contexts
        flat = states.reshape(batch, -1)
        first = earliest(flat, self.contexts)
        seen = (first[rows, flat] < np.arange(flat.shape[1])).reshape(states.shape)
        targets = no_targets(walks)
        letters = walks[:, :, self.context : -1]
        targets[:, :, self.context - 1 : -2] = np.where(seen, letters, IGNORE)
        return Batch(walks.reshape(batch, -1)[:, :-2], targets.reshape(batch, -1)[:, :-2])

    def _tables(self, random: np.random.Generator, batch: int) -> Tokens:
        """The letter after each context, B x contexts; contexts with the same ending have different letters."""
        endings = self.contexts // self.alphabet
        follows = without_replacement(random, self.alphabet, self.alphabet, batch * endings)
        return follows.reshape(batch, endings, self.alphabet).transpose(0, 2, 1).reshape(batch, self.contexts)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store which letter followed each context; look up the contexts that occur again."""
        known: dict[tuple[int, ...], int] = {}
        targets = []
        for position in range(len(tokens)):
            run = tuple(tokens[max(0, position + 1 - self.context) : position + 1])
            ends = position + 1 < len(tokens) and tokens[position + 1] == self.alphabet
            whole = len(run) == self.context and self.alphabet not in run
            targets.append(known.get(run, IGNORE) if whole and not ends else IGNORE)
            if whole and not ends and position + 1 < len(tokens):
                known[run] = tokens[position + 1]
        return targets

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the end of a walk as a bar."""
        return "|" if token == self.alphabet else str(token)
