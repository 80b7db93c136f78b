"""Recall with updates: some keys get another value, and the target is the latest one.

    inputs   k1 v1 k2 v2 k1 v9 k2 v3 k5 v2 k1 k7
    targets   .  .  .  .  .  . v2  .  .  . v9  .

A context of ``pairs`` distinct keys, each followed by a value. Then some of the keys occur again, drawn without
replacement and in random order, with another value; all values of a sequence are distinct. The query zone of ``recall``
follows: each key once, at the head of a slot of two positions, with the target at the key itself. Filler is uniform
over all ids but the keys of this context.

Source   the code of Arora et al., "Zoology", arXiv:2312.04927: its forgetting variant, which the paper does not
         describe as far as we know.
Theirs   num_kv_pairs -> pairs, num_updates -> updates * pairs, input_seq_len -> length, vocab_size -> vocabulary,
         power_a -> power.
Differs  in the filler, which never repeats a key; in the new values, which in theirs differ from one another and from
         the old ones only by chance: each is drawn apart from the old value of another key as a rule, so that 1.4 to
         2.2 % of the updates repeat the value they replace (vocabularies of 66 to 128, 4 or 8 pairs); and in the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall import none_of, spread, without_replacement


@register("recall-updated", source="the code of arXiv:2312.04927")
@final
class RecallUpdated(Task):
    """Given pairs of keys and values, some of them overwritten, predict the latest value of each key.

    Options:
        pairs: Keys in the context; each is a query once.
        updates: Share of the keys that get another value; at least one key does.
        length: Tokens of a sequence.
        vocabulary: Number of ids; half are keys, half values.
        power: Where queries are: at 0.01 mostly right after the context, at 1 uniform.
    """

    complexity = "pairs"
    intended_shortcut = "nearest context"
    chance_guess = "a guess among the values of the context"

    def __init__(
        self,
        *,
        pairs: Annotated[int, Field(ge=1)] = 4,
        updates: Annotated[float, Field(ge=0, le=1)] = 0.5,
        length: Annotated[int, Field(ge=6)] = 64,
        vocabulary: Annotated[int, Field(ge=4)] = 128,
        power: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        self.pairs, self.updated = pairs, _num_updated(pairs, updates)
        if vocabulary % 2:
            raise InvalidValueError(f"Vocabulary must be even, not {vocabulary}.", where="recall-updated")
        needed, values = 4 * pairs + 2 * self.updated, pairs + self.updated
        if needed > length:
            most = max(fewer for fewer in range(1, pairs) if 4 * fewer + 2 * _num_updated(fewer, updates) <= length)
            problem = f"{pairs} pairs, {self.updated} of them updated, do not fit {length} tokens."
            raise InvalidValueError(
                problem, f"Use at most {most}, or a length of at least {needed}.", where="recall-updated"
            )
        if values > vocabulary // 2:
            most = max(fewer for fewer in range(1, pairs) if fewer + _num_updated(fewer, updates) <= vocabulary // 2)
            problem = f"{pairs} pairs, {self.updated} of them updated, need {values} of the {vocabulary // 2} values."
            hint = f"Use at most {most}, or a vocabulary of at least {2 * values}."
            raise InvalidValueError(problem, hint, where="recall-updated")
        self.length, self.vocabulary, self.power = length, vocabulary, power
        self.chance = 1 / pairs

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw contexts, updates, queries and filler."""
        half, context = self.vocabulary // 2, 2 * (self.pairs + self.updated)
        keys = without_replacement(random, half, self.pairs, batch)
        values = half + without_replacement(random, half, self.pairs + self.updated, batch)
        again = without_replacement(random, self.pairs, self.updated, batch)
        rows = np.arange(batch)[:, None]
        inputs_BT = none_of(random, self.vocabulary, keys, self.length)
        inputs_BT[:, 0:context:2] = np.concatenate([keys, keys[rows, again]], axis=1)
        inputs_BT[:, 1:context:2] = values
        latest = values[:, : self.pairs].copy()
        latest[rows, again] = values[:, self.pairs :]
        positions = context + 2 * spread(random, (self.length - context) // 2, self.power, self.pairs, batch)
        inputs_BT[rows, positions] = keys
        targets_BT = no_targets(inputs_BT)
        targets_BT[rows, positions] = latest
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store what last followed each key of the context; a key that occurs again is a query."""
        context = 2 * (self.pairs + self.updated)
        follows: dict[int, int] = {}
        for position in range(0, context, 2):
            follows[tokens[position]] = tokens[position + 1]
        return [IGNORE] * context + [follows.get(token, IGNORE) for token in tokens[context:]]

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ..."""
        half = self.vocabulary // 2
        return f"k{token}" if token < half else f"v{token - half}"


def _num_updated(pairs: int, updates: float) -> int:
    """Number of keys that get another value."""
    return max(1, round(updates * pairs))
