"""Noisy recall: in-context recall, with noise in some slots.

    inputs   k1 v2 n5 n0 k3 v0 k1 v2 n4 n4 k3
    targets   .  .  .  .  .  . v2  .  .  . v0

The sequence is that of ``recall-stream``, but each slot except the last has two uniform noise ids instead of a pair
with probability ``noise``. One slot, drawn uniformly, always has a pair, so that the last slot can repeat a key.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         noisy in-context recall.
Theirs   vocab_size -> 2 keys + kinds, seq_len -> 2 keys uses, frac_noise -> noise, noise_vocab_size -> kinds; their
         baseline of 32, 128, 0.2 and 16 is keys 8, uses 8, noise 0.2, kinds 16.
Differs  no two keys of a sequence share a value; training supervises the positions of the test (theirs trains on every
         next token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall_stream import check_slots, draw, seen_value_accuracy

MAX_SLOTS = 2**10
"""The most slots: chance is computed over every slot, for each slot that may be the one that is surely a pair."""


@register("recall-noisy", source="arXiv:2403.17844")
@final
class RecallNoisy(Task):
    """In a series of pairs and noise, predict the value of each key that occurs again.

    Options:
        keys: Keys to draw from; the number of values is the same.
        uses: Slots per key, with the slots of noise included.
        noise: Probability that a slot has noise instead of a pair.
        kinds: Number of noise ids.
    """

    complexity = "keys"
    intended_shortcut = "nearest context"
    chance_guess = "a guess among the values of the context"

    def __init__(
        self,
        *,
        keys: Annotated[int, Field(ge=2, le=MAX_SLOTS)] = 8,
        uses: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 4,
        noise: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        kinds: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        self.keys, self.slots, self.noise, self.kinds = keys, keys * uses, noise, kinds
        self.vocabulary = 2 * keys + kinds
        self.length = 2 * self.slots - 1
        check_slots(self.slots, keys, MAX_SLOTS, where="recall-noisy")
        always_pair = np.eye(self.slots - 1)
        self.chance = seen_value_accuracy(keys, always_pair + (1 - always_pair) * (1 - noise))

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw pairs with replacement and replace some by noise; the last value is left out."""
        content_BS = random.random((batch, self.slots - 1)) >= self.noise
        content_BS[np.arange(batch), random.integers(0, self.slots - 1, batch)] = True
        pairs = draw(random, self.keys, content_BS)
        content_BS = np.concatenate([content_BS, np.ones((batch, 1), dtype=np.bool_)], axis=1)
        noise = 2 * self.keys + random.integers(0, self.kinds, (batch, self.slots, 2))
        tokens = np.stack([pairs.keys_BS, pairs.values_BS], axis=2)
        inputs_BT = np.where(content_BS[:, :, None], tokens, noise).reshape(batch, -1)[:, :-1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, ::2] = np.where(content_BS & pairs.again_BS, pairs.values_BS, IGNORE)
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store what followed each key; noise ids are no keys."""
        known: dict[int, int] = {}
        targets = []
        for position, token in enumerate(tokens):
            targets.append(known.get(token, IGNORE))
            if self.keys <= token < 2 * self.keys:
                known[tokens[position - 1]] = token
        return targets

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ...; noise as n0, n1, ..."""
        letter, offset = ("k", 0) if token < self.keys else ("v", self.keys)
        if token >= 2 * self.keys:
            letter, offset = "n", 2 * self.keys
        return f"{letter}{token - offset}"
