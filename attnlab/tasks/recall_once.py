"""Single-query recall: a series of pairs, and one query at the end.

    inputs   k1 v2 k3 v0 k1 v2  ? k3
    targets   .  .  .  .  .  .  . v0

The series is that of ``recall-stream``, with ``keys * uses`` pairs. The last pair is the query: a question mark, then
one of the keys so far, uniformly. The target at this key is its value. There is no other target.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         in-context recall with one query.
Theirs   vocab_size -> 2 keys + 1, seq_len -> 2 keys uses, copy prefix -> ?.
Differs  no two keys of a sequence share a value; training supervises the positions of the test (theirs trains on every
         next token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall_stream import draw, seen_letter_accuracy


@register("recall-once", source="arXiv:2403.17844")
@final
class RecallOnce(Task):
    """After a series of pairs of keys and values, predict the value of one key.

    Options:
        keys: Keys to draw from; the number of values is the same.
        uses: Pairs per key, on average, with the query included.
    """

    complexity = "keys"
    intended_shortcut = "nearest context"
    chance_guess = "a guess among the values of the context"

    def __init__(self, *, keys: Annotated[int, Field(ge=2)] = 8, uses: Annotated[int, Field(ge=1)] = 2) -> None:
        self.keys, self.slots = keys, keys * uses
        self.vocabulary = 2 * keys + 1
        self.length = 2 * self.slots
        self.chance = seen_letter_accuracy(keys, self.slots - 1)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw pairs with replacement, the question mark, and one of the keys."""
        pairs = draw(random, self.keys, np.ones((batch, self.slots - 1), dtype=np.bool_))
        inputs_BT = np.full((batch, self.length), self.vocabulary - 1)
        inputs_BT[:, :-2:2] = pairs.keys_BS[:, :-1]
        inputs_BT[:, 1:-2:2] = pairs.values_BS[:, :-1]
        inputs_BT[:, -1] = pairs.keys_BS[:, -1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = pairs.values_BS[:, -1]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """The target is the token after the first occurrence of the last token."""
        first = list(tokens).index(tokens[-1])
        return [IGNORE] * (len(tokens) - 1) + [tokens[first + 1]]

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ...; the query token as a question mark."""
        if token == self.vocabulary - 1:
            return "?"
        return f"k{token}" if token < self.keys else f"v{token - self.keys}"
