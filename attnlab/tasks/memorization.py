"""Memorization: predict the value of each key from memory; the value is not in the sequence.

    inputs   k3  ? k0  ? k3  ?
    targets   . v4  . v3  . v4      six pairs, map_seed 0

A fixed one-to-one map from ``pairs`` keys to as many values is drawn from ``map_seed`` alone. It is the same in
training and test, and in every run. Keys are uniform with replacement. Each is followed by a question mark, and the
target at the question mark is the value.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         memorization.
Theirs   vocab_size -> 2 pairs + 1, seq_len -> 2 slots, insert token -> ?, kv_map_seed -> map_seed; their baseline of
         256 and 32 is pairs 127, slots 16.
Differs  in the numbers drawn, so that the map of a seed is another one; training draws fresh sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register


@register("memorization", source="arXiv:2403.17844")
@final
class Memorization(Task):
    """Predict the value of each key from a fixed map that no sequence contains.

    Options:
        pairs: Keys of the map; the number of values is the same.
        slots: Keys of a sequence; each is a query.
        map_seed: Seed from which the map is drawn.
    """

    complexity = "pairs"
    intended_shortcut = "bigram"

    def __init__(
        self,
        *,
        pairs: Annotated[int, Field(ge=2)] = 128,
        slots: Annotated[int, Field(ge=1)] = 16,
        map_seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.pairs, self.slots = pairs, slots
        self.values = pairs + np.random.default_rng(map_seed).permutation(pairs)
        self.vocabulary, self.length, self.chance = 2 * pairs + 1, 2 * slots, 1 / pairs

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform keys, with a question mark after each."""
        keys = random.integers(0, self.pairs, (batch, self.slots))
        inputs_BT = np.full((batch, self.length), self.vocabulary - 1)
        inputs_BT[:, ::2] = keys
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, 1::2] = self.values[keys]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Look up each key in the map."""
        known = dict(enumerate(self.values.tolist()))
        return [known[tokens[position - 1]] if position % 2 else IGNORE for position in range(len(tokens))]

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ...; the query token as a question mark."""
        if token == 2 * self.pairs:
            return "?"
        return f"k{token}" if token < self.pairs else f"v{token - self.pairs}"
