"""Multi-query associative recall: predict the value of each key that occurs again.

    inputs   k1 v1 k2 v2  ·  · k2  ·  ·  · k1  ·
    targets   .  .  .  .  .  . v2  .  .  . v1  .

The context has ``pairs`` distinct keys, each followed by a value of its own. Keys are the ids 1 .. V/2 - 1, values are
V/2 .. V - 1; both are drawn without replacement. The rest of the sequence is a query zone of slots of two positions.
Each key occurs once more at the head of a slot, drawn without replacement with P(slot j) ~ j^(power - 1), j = 1, 2, ...
The target is at the position of the query key itself. Every other position of the zone has filler:

    distinct  ours, the default: uniform over all ids but the keys of this
              context, so that every label is unambiguous
    zeros     the id 0, as in the paper's figure 2
    random    uniform over all ids, as in the authors' later code: a filler
              may repeat a key of the context, where it has no target

Source   Arora et al., "Zoology", arXiv:2312.04927, and its code.
Theirs   num_kv_pairs -> pairs, input_seq_len -> length, vocab_size -> vocabulary, power_a -> power,
         random_non_queries -> filler.
Differs  in the default filler and sizes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register


@register("recall", source="arXiv:2312.04927", aliases=("mqar",))
@final
class Recall(Task):
    """Given pairs of keys and values, predict the value of each key that occurs again.

    Options:
        pairs: Keys in the context; each is a query once.
        length: Tokens of a sequence; at least four for each pair.
        vocabulary: Number of ids; half are keys, half values.
        power: Where queries are: at 0.01 mostly right after the context, at 1 uniform.
        filler: Which ids fill the positions without a query.
    """

    complexity = "pairs"
    intended_shortcut = "nearest context"
    chance_guess = "a guess among the values of the context"

    def __init__(
        self,
        *,
        pairs: Annotated[int, Field(ge=1)] = 4,
        length: Annotated[int, Field(ge=4)] = 64,
        vocabulary: Annotated[int, Field(ge=4)] = 128,
        power: Annotated[float, Field(gt=0)] = 0.01,
        filler: Literal["distinct", "zeros", "random"] = "distinct",
    ) -> None:
        if vocabulary % 2 or length % 2:
            raise InvalidValueError(
                f"Length and vocabulary must be even, not {length} and {vocabulary}.", where="recall"
            )
        if 4 * pairs > length:
            hint = f"Use at most {length // 4} pairs, or a length of at least {4 * pairs}."
            raise InvalidValueError(f"{pairs} pairs do not fit {length} tokens.", hint, where="recall")
        if pairs > vocabulary // 2 - 1:
            hint = f"Use at most {vocabulary // 2 - 1} pairs, or a vocabulary of at least {2 * pairs + 2}."
            raise InvalidValueError(
                f"A vocabulary of {vocabulary} has too few keys for {pairs} pairs.", hint, where="recall"
            )
        self.pairs, self.length, self.vocabulary, self.filler = pairs, length, vocabulary, filler
        self.chance = 1 / pairs
        self.slots, self.power = (length - 2 * pairs) // 2, power

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw contexts, queries and filler."""
        pairs, half = self.pairs, self.vocabulary // 2
        keys = 1 + without_replacement(random, half - 1, pairs, batch)
        values = half + without_replacement(random, half, pairs, batch)
        inputs_BT = self._filler(random, keys)
        inputs_BT[:, 0 : 2 * pairs : 2] = keys
        inputs_BT[:, 1 : 2 * pairs : 2] = values
        targets_BT = no_targets(inputs_BT)
        positions = 2 * pairs + 2 * spread(random, self.slots, self.power, pairs, batch)
        positions += self.length * np.arange(batch)[:, None]
        inputs_BT.reshape(-1)[positions] = keys
        targets_BT.reshape(-1)[positions] = values
        return Batch(inputs_BT, targets_BT)

    def _filler(self, random: np.random.Generator, keys: Tokens) -> Tokens:
        """Draw whole sequences of filler, B x T."""
        shape = (len(keys), self.length)
        if self.filler == "zeros":
            return np.zeros(shape, dtype=np.int64)
        if self.filler == "random":
            return random.integers(0, self.vocabulary, shape)
        return none_of(random, self.vocabulary, keys, self.length)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store what followed each key of the context; a key that occurs again is a query."""
        context = 2 * self.pairs
        follows = {tokens[position]: tokens[position + 1] for position in range(0, context, 2)}
        return [IGNORE] * context + [follows.get(token, IGNORE) for token in tokens[context:]]

    def token_to_str(self, token: int) -> str:
        """Keys as k1, k2, ...; values as v0, v1, ...; the id 0 as a dot."""
        half = self.vocabulary // 2
        return "·" if token == 0 else f"k{token}" if token < half else f"v{token - half}"


def spread(random: np.random.Generator, slots: int, power: float, count: int, batch: int) -> Tokens:
    """Draw slots in each row without replacement, with P(slot j) ~ j^(power - 1).

    The order of exponential arrival times is a draw without replacement with probabilities in proportion to the rates.

    Args:
        random: Generator that is drawn from.
        slots: Number of slots to draw from, j = 1 .. slots.
        power: Exponent; 1 is uniform, and smaller values prefer early slots.
        count: Slots to draw in each row.
        batch: B, number of rows.

    Returns:
        Indices of slots, counted from 0, in the order of the draw, B x count.
    """
    mean_arrivals = np.arange(1, slots + 1, dtype=np.float64) ** (1 - power)
    arrivals = random.standard_exponential((batch, slots)) * mean_arrivals
    return np.argsort(arrivals, axis=1)[:, :count]


def none_of(random: np.random.Generator, vocabulary: int, excluded: Tokens, length: int) -> Tokens:
    """Draw rows of uniform ids that are not among the excluded ids of the row.

    Args:
        random: Generator that is drawn from.
        vocabulary: V; ids are 0 .. V - 1.
        excluded: Ids that a row must not contain, distinct within the row, B x E.
        length: T, ids to draw in each row.

    Returns:
        Ids, B x T.
    """
    drawn = random.integers(0, vocabulary - excluded.shape[1], (len(excluded), length))
    # The d-th allowed id is d plus the number of excluded ids at or below it. Each sorted excluded id, less the number
    # of excluded ids below it, is compared with d directly. The sums take most of the time, so they use few bits.
    steps = np.zeros(drawn.shape, dtype=np.int16)
    for banned in (np.sort(excluded, axis=1) - np.arange(excluded.shape[1])).T:
        steps += (drawn >= banned[:, None]).view(np.int8)
    drawn += steps
    return drawn


def without_replacement(random: np.random.Generator, kinds: int, count: int, batch: int) -> Tokens:
    """Draw distinct numbers in each row, uniform over ordered draws.

    Args:
        random: Generator that is drawn from.
        kinds: Numbers are 0 .. kinds - 1.
        count: Numbers to draw in each row.
        batch: B, number of rows.

    Returns:
        Distinct numbers within each row, B x count.
    """
    if count * count > kinds:
        return np.argsort(random.random((batch, kinds)), axis=1)[:, :count]
    drawn = random.integers(0, kinds, (batch, count))
    again = _repeating(drawn)
    while len(again):
        drawn[again] = random.integers(0, kinds, (len(again), count))
        again = again[_repeating(drawn[again])]
    return drawn


def _repeating(drawn: Tokens) -> Tokens:
    """Indices of the rows in which a number occurs twice."""
    ordered = np.sort(drawn, axis=1)
    return np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
