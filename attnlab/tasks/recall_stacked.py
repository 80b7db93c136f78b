"""Stacked recall: a key and its value are one token, so that no layer has to join them first.

    inputs   k3v0  k1v5  k0v2  k1  k0  k3
    targets    .     .     .   v5  v2  v0

The context has ``pairs`` distinct keys, each in one token with its value; values are distinct too. Both are drawn
without replacement. The context is given ``passes`` times, in a new random order each time. Then each key is asked
once, in random order, by a token that has the key alone; the target is its value. There is an id for each key with each
value, for each key alone and for each value alone: keys x values + keys + values of them.

Where key and value are two tokens, as in ``recall``, one layer joins a value with the key before it and a second one
looks it up, unless a convolution joins them. Here one layer is enough.

Source   Arora et al., "Zoology", arXiv:2312.04927: the later code of it (stacked, or continuous, MQAR).
Theirs   num_kv_pairs -> pairs, num_passes -> passes; half of the embeddings -> keys, the other half -> values.
Differs  theirs has fixed vectors as inputs, those of key and value next to one another, with zeros for the value that
         is asked; here each pair has an id, and the model learns what pairs with the same key have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall import without_replacement


@register("recall-stacked", source="arXiv:2312.04927, stacked MQAR of its code", aliases=("stacked-mqar",))
@final
class RecallStacked(Task):
    """Given tokens that hold a key and a value each, predict the value of each key.

    Options:
        pairs: Keys in the context; each is asked once.
        passes: How often the context is given.
        keys: Keys to draw from.
        values: Values to draw from.
    """

    complexity = "pairs"
    chance_guess = "a guess among the values of the context"

    def __init__(
        self,
        *,
        pairs: Annotated[int, Field(ge=1)] = 4,
        passes: Annotated[int, Field(ge=1)] = 1,
        keys: Annotated[int, Field(ge=1)] = 16,
        values: Annotated[int, Field(ge=2)] = 16,
    ) -> None:
        for what, number in (("keys", keys), ("values", values)):
            if pairs > number:
                problem = f"{pairs} pairs need more than {number} {what}."
                hint = f"Use at least {pairs} {what}, or at most {number} pairs."
                raise InvalidValueError(problem, hint, where="recall-stacked")
        self.pairs, self.passes, self.keys, self.values = pairs, passes, keys, values
        self.first_key, self.first_value = keys * values, keys * values + keys
        self.vocabulary = self.first_value + values
        self.length = (passes + 1) * pairs
        self.chance = 1 / pairs

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw keys and values, an order for each pass, and an order of the questions."""
        keys = without_replacement(random, self.keys, self.pairs, batch)
        values = without_replacement(random, self.values, self.pairs, batch)
        orders = np.argsort(random.random((batch, self.passes + 1, self.pairs)), axis=2)
        rows = np.arange(batch)[:, None]
        context = (keys * self.values + values)[rows, orders[:, :-1].reshape(batch, -1)]
        asked = orders[:, -1]
        inputs_BT = np.concatenate([context, self.first_key + keys[rows, asked]], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.passes * self.pairs :] = self.first_value + values[rows, asked]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Take the pairs apart and look each key up."""
        value_of = dict(divmod(token, self.values) for token in tokens if token < self.first_key)
        return [
            IGNORE if token < self.first_key else self.first_value + value_of[token - self.first_key]
            for token in tokens
        ]

    def token_to_str(self, token: int) -> str:
        """Pairs as k3v0, keys as k3, values as v0."""
        if token >= self.first_value:
            return f"v{token - self.first_value}"
        if token >= self.first_key:
            return f"k{token - self.first_key}"
        return "k{}v{}".format(*divmod(token, self.values))
