"""Recall of an earlier value: keys get several values, and the target is the N-th last one.

    inputs   k1 v1 k2 v2 k1 v9 k2 v3 k1 v5 k1 k7 k2 k7       back 2
    targets   .  .  .  .  .  .  .  .  .  . v9  . v2  .

A context of ``pairs * writes`` pairs of a key and a value, of ``pairs`` different keys in random order. Each key occurs
``back`` times at least; the other pairs have uniform keys. All values of a sequence are distinct. The query zone of
``recall`` follows: each key once, at the head of a slot of two positions, with the target at the key itself. Filler is
uniform over all ids but the keys of this context. With ``back`` 1 the target is the latest value, as in
``recall-updated``. Chance is a guess among the answers of the sequence.

Source   Tan et al., "Scaling stick-breaking attention", arXiv:2410.17980 (multi-query repeated associative recall);
         Yang et al., "PaTH attention", arXiv:2505.16381, ask for the N-th last value.
Theirs   N -> back, key-value pairs -> pairs; 32 pairs, N = 1 .. 4, length 768.
Differs  layout, filler and values are those of ``recall-updated``; how often theirs write a key we do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall import none_of, spread, without_replacement


@register("recall-nback", source="arXiv:2505.16381, arXiv:2410.17980")
@final
class RecallNBack(Task):
    """Given keys with several values each, predict the N-th last value of each key.

    Options:
        back: N: which value is asked for, 1 for the latest.
        pairs: Different keys; each is a query once.
        writes: Values of a key, on average.
        length: Tokens of a sequence.
        vocabulary: Number of ids; half are keys, half values.
        power: Where queries are: at 0.01 mostly right after the context, at 1 uniform.
    """

    complexity = "back"
    intended_shortcut = "nearest context"
    chance_guess = "a guess among the answers of the sequence"

    def __init__(
        self,
        *,
        back: Annotated[int, Field(ge=1)] = 2,
        pairs: Annotated[int, Field(ge=1)] = 4,
        writes: Annotated[int, Field(ge=1)] = 5,
        length: Annotated[int, Field(ge=4)] = 64,
        vocabulary: Annotated[int, Field(ge=4)] = 128,
        power: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        if vocabulary % 2:
            raise InvalidValueError(f"Vocabulary must be even, not {vocabulary}.", where="recall-nback")
        if back > writes:
            problem = f"A key with {writes} values has no {back}-th last one."
            raise InvalidValueError(problem, f"Use writes of at least {back}.", where="recall-nback")
        needed = 2 * pairs * (writes + 1)
        if needed > length:
            problem = f"{pairs} pairs with {writes} values each do not fit {length} tokens."
            hint = f"Use a length of at least {needed}, or fewer pairs or writes."
            raise InvalidValueError(problem, hint, where="recall-nback")
        if pairs * writes > vocabulary // 2:
            problem = f"{pairs} pairs with {writes} values each need {pairs * writes} of the {vocabulary // 2} values."
            hint = f"Use a vocabulary of at least {2 * pairs * writes}, or fewer pairs or writes."
            raise InvalidValueError(problem, hint, where="recall-nback")
        self.back, self.pairs, self.slots = back, pairs, pairs * writes
        self.length, self.vocabulary, self.power = length, vocabulary, power
        self.chance = 1 / pairs

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw keys with their values in random order, queries and filler."""
        half, context, rows = self.vocabulary // 2, 2 * self.slots, np.arange(batch)[:, None]
        keys = without_replacement(random, half, self.pairs, batch)
        values = half + without_replacement(random, half, self.slots, batch)
        certain = np.tile(np.arange(self.pairs), (batch, self.back))
        free = random.integers(0, self.pairs, (batch, self.slots - certain.shape[1]))
        order = np.argsort(random.random((batch, self.slots)), axis=1)
        written = np.concatenate([certain, free], axis=1)[rows, order]
        # Slots sorted by key, and by time within a key: the N-th last slot of a key is N before the end of its block.
        blocks = np.argsort(written, axis=1, kind="stable")
        ends = np.cumsum((written[:, :, None] == np.arange(self.pairs)).sum(axis=1), axis=1)
        answers = values[rows, blocks[rows, ends - self.back]]
        inputs_BT = none_of(random, self.vocabulary, keys, self.length)
        inputs_BT[:, 0:context:2] = keys[rows, written]
        inputs_BT[:, 1:context:2] = values
        positions = context + 2 * spread(random, (self.length - context) // 2, self.power, self.pairs, batch)
        inputs_BT[rows, positions] = keys
        targets_BT = no_targets(inputs_BT)
        targets_BT[rows, positions] = answers
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """List the values of each key of the context; a key that occurs after it is a query."""
        context = 2 * self.slots
        follows: dict[int, list[int]] = {}
        for position in range(0, context, 2):
            follows.setdefault(tokens[position], []).append(tokens[position + 1])
        zone = [follows[token][-self.back] if token in follows else IGNORE for token in tokens[context:]]
        return [IGNORE] * context + zone

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ..."""
        half = self.vocabulary // 2
        return f"k{token}" if token < half else f"v{token - half}"
