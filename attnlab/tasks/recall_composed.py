"""Recall with composed keys: a key is a pair of ids, and neither id alone determines the value.

    inputs   a1 b3 v7 a4 b3 v2 a1 b0 v5 a4 b0 v6
    targets   .  .  .  .  .  .  .  .  .  .  .  .
    inputs   a4 b3 a9 a1 b0 v1 a1 b3 b7 a4 b0 v4
    targets   . v2  .  . v5  .  . v7  .  . v6  .

The keys of a context are the ``side * side`` pairs of ``side`` first ids and ``side`` second ids, in random order, each
followed by a value of its own. First ids are 0 .. V/3 - 1, second ids V/3 .. 2V/3 - 1, values the rest; all are drawn
without replacement. A query zone of slots of three positions follows. Each key occurs once more at the head of a slot,
drawn without replacement with P(slot j) ~ j^(power - 1), and the target is at its second id. Filler is uniform over all
ids but the first and second ids of this context.

Source   the code of Arora et al., "Zoology", arXiv:2312.04927: its compositional variant, which the paper does not
         describe as far as we know.
Theirs   num_kv_pairs -> side * side, input_seq_len -> length, vocab_size -> vocabulary, power_a -> power.
Differs  in the filler, which never repeats an id of a key, and in the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall import none_of, spread, without_replacement


@register("recall-composed", source="the code of arXiv:2312.04927")
@final
class RecallComposed(Task):
    """Given a value for each pair of a grid, predict the value of each pair that occurs again.

    Options:
        side: Number of first ids of a context, and of second ids; every pair of them is a key.
        length: Tokens of a sequence; at least six for each key.
        vocabulary: Number of ids; a third are first ids, a third second ids, a third values.
        power: Where queries are: at 0.01 mostly right after the context, at 1 uniform.
    """

    complexity = "side"
    intended_shortcut = "nearest context"

    def __init__(
        self,
        *,
        side: Annotated[int, Field(ge=1)] = 2,
        length: Annotated[int, Field(ge=6)] = 96,
        vocabulary: Annotated[int, Field(ge=3)] = 96,
        power: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        self.keys = side * side
        if vocabulary % 3:
            raise InvalidValueError(f"Vocabulary must be a multiple of 3, not {vocabulary}.", where="recall-composed")
        if 6 * self.keys > length:
            problem = f"The {self.keys} keys of a grid of side {side} do not fit {length} tokens."
            hint = f"Use at most {isqrt(length // 6)}, or a length of at least {6 * self.keys}."
            raise InvalidValueError(problem, hint, where="recall-composed")
        if self.keys > vocabulary // 3:
            problem = f"The {self.keys} keys of a grid of side {side} need more than {vocabulary // 3} values."
            hint = f"Use at most {isqrt(vocabulary // 3)}, or a vocabulary of at least {3 * self.keys}."
            raise InvalidValueError(problem, hint, where="recall-composed")
        self.side, self.length, self.vocabulary, self.power = side, length, vocabulary, power
        self.chance = 1 / self.keys

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw grids in random order, queries and filler."""
        third, context, rows = self.vocabulary // 3, 3 * self.keys, np.arange(batch)[:, None]
        firsts = without_replacement(random, third, self.side, batch)
        seconds = third + without_replacement(random, third, self.side, batch)
        values = 2 * third + without_replacement(random, third, self.keys, batch)
        cells = without_replacement(random, self.keys, self.keys, batch)
        first, second = firsts[rows, cells // self.side], seconds[rows, cells % self.side]
        inputs_BT = none_of(random, self.vocabulary, np.concatenate([firsts, seconds], axis=1), self.length)
        inputs_BT[:, 0:context:3], inputs_BT[:, 1:context:3], inputs_BT[:, 2:context:3] = first, second, values
        positions = context + 3 * spread(random, (self.length - context) // 3, self.power, self.keys, batch)
        inputs_BT[rows, positions] = first
        inputs_BT[rows, positions + 1] = second
        targets_BT = no_targets(inputs_BT)
        targets_BT[rows, positions + 1] = values
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store what followed each pair of the context; a pair that occurs again is a query."""
        context = 3 * self.keys
        follows = {tuple(tokens[start : start + 2]): tokens[start + 2] for start in range(0, context, 3)}
        targets = [follows.get(tuple(tokens[end - 1 : end + 1]), IGNORE) for end in range(context, len(tokens))]
        return [IGNORE] * context + targets

    def token_to_str(self, token: int) -> str:
        """First ids as a0, a1, ...; second ids as b0, b1, ...; values as v0, v1, ..."""
        kind, number = divmod(token, self.vocabulary // 3)
        return f"{'abv'[kind]}{number}"
