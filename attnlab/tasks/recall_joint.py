"""Joint recall: the value of a key depends on the context in which it is queried.

    inputs   c2 k5 v1 k0 v8 c7 k0 v3 k5 v4 c7 k5 c2 k0 c2 k5 c7 k0
    targets   .  .  .  .  .  .  .  .  .  .  . v4  . v8  . v1  . v3

A sequence has ``contexts`` sections. Each begins with a context of its own and lists the same ``keys`` keys, in its own
order, each followed by its value in this context. So every query has distractors: the other keys of its context, and
its key in the other contexts. Then each pair of context and key is queried once, in random order, and the target is at
the key. Contexts, keys and values are each a third of the ids, drawn without replacement; all values of a sequence are
distinct.

Source   Zhan et al., "Overcoming long-context limitations of state-space models via context-dependent sparse
         attention", arXiv:2507.00449: a value depends on a key and its context, and the whole table is queried.
Differs  their layout of the sequence is not known to us; sections, order and sizes are ours. Theirs also has contexts
         of several levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall import without_replacement


@register("recall-joint", source="after arXiv:2507.00449")
@final
class RecallJoint(Task):
    """Given the values of the same keys in several contexts, predict the value of each key in each context.

    Options:
        contexts: Sections of the sequence.
        keys: Keys that each section lists.
        vocabulary: Number of ids; a third are contexts, a third keys, a third values.
    """

    complexity = "contexts"
    chance_guess = "a guess among the values of the context"

    def __init__(
        self,
        *,
        contexts: Annotated[int, Field(ge=1)] = 2,
        keys: Annotated[int, Field(ge=1)] = 4,
        vocabulary: Annotated[int, Field(ge=3)] = 96,
    ) -> None:
        self.contexts, self.keys, self.entries = contexts, keys, contexts * keys
        if vocabulary % 3:
            raise InvalidValueError(f"Vocabulary must be a multiple of 3, not {vocabulary}.", where="recall-joint")
        if self.entries > vocabulary // 3:
            problem = f"{contexts} * {keys} entries need more than {vocabulary // 3} values."
            most = vocabulary // 3 // keys
            fewer = f"at most {most} contexts" if most else f"at most {vocabulary // 3} keys"
            raise InvalidValueError(
                problem, f"Use {fewer}, or a vocabulary of at least {3 * self.entries}.", where="recall-joint"
            )
        self.vocabulary = vocabulary
        self.length = contexts * (1 + 2 * keys) + 2 * self.entries
        self.chance = 1 / self.entries
        self.intended_shortcut = "nearest context" if contexts == 1 else ""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw sections and queries."""
        third, rows = self.vocabulary // 3, np.arange(batch)[:, None]
        contexts = without_replacement(random, third, self.contexts, batch)
        keys = third + without_replacement(random, third, self.keys, batch)
        values = 2 * third + without_replacement(random, third, self.entries, batch)
        orders = without_replacement(random, self.keys, self.keys, batch * self.contexts).reshape(batch, -1)
        listed = keys[rows, orders]
        entry_shape = (batch, self.contexts, self.keys)
        sections = np.empty((batch, self.contexts, 1 + 2 * self.keys), dtype=np.int64)
        sections[:, :, 0] = contexts
        sections[:, :, 1::2] = listed.reshape(entry_shape)
        sections[:, :, 2::2] = values.reshape(entry_shape)
        queried = without_replacement(random, self.entries, self.entries, batch)
        queries = np.stack([contexts[rows, queried // self.keys], listed[rows, queried]], axis=2)
        inputs_BT = np.concatenate([sections.reshape(batch, -1), queries.reshape(batch, -1)], axis=1)
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -2 * self.entries + 1 :: 2] = values[rows, queried]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store the values of each context; a key that is not followed by a value is a query."""
        third = self.vocabulary // 3
        table: dict[tuple[int, int], int] = {}
        targets, context = [], -1
        for position, token in enumerate(tokens):
            context = token if token < third else context
            if token >= 2 * third:
                table[context, tokens[position - 1]] = token
            has_value = position + 1 < len(tokens) and tokens[position + 1] >= 2 * third
            targets.append(table[context, token] if third <= token < 2 * third and not has_value else IGNORE)
        return targets

    def token_to_str(self, token: int) -> str:
        """Contexts as c0, c1, ...; keys as k0, k1, ...; values as v0, v1, ..."""
        kind, number = divmod(token, self.vocabulary // 3)
        return f"{'ckv'[kind]}{number}"
