"""Multi-query associative recall: answer each key that is asked again.

    inputs   k1 v1 k2 v2  ·  · k2  ·  ·  · k1  ·
    answers   .  .  .  .  .  . v2  .  .  . v1  .

The context holds ``pairs`` distinct keys, each followed by a value of its own; keys are the ids 1 .. V/2 - 1, values
V/2 .. V - 1, both drawn without replacement. The rest of the sequence is a zone of slots of two positions; each key
stands once more at the head of a slot, drawn without replacement with P(slot j) ~ j^(power - 1), j = 1, 2, ... The
answer is due on the position of the question itself. Every position of the zone that asks nothing holds filler:

    distinct  ours, the default: uniform over all ids but the keys of this
              context, so that every label is unambiguous
    zeros     the id 0, as in the paper's figure 2
    random    uniform over all ids, as in the authors' later code: a filler
              may repeat a key of the context, and stands there unanswered

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
    """Given pairs of keys and values, answer each key that is asked again.

    Options:
        pairs: Keys in the context, each asked once.
        length: Tokens of a sequence; at least four for each pair.
        vocabulary: Ids; half are keys, half values.
        power: How questions spread: 0.01 mostly right after the context, 1 evenly.
        filler: What stands where nothing is asked.
    """

    complexity = "pairs"
    intended_shortcut = "nearest context"

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
        """Contexts, questions and filler."""
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
        """Whole sequences of what stands where nothing is asked."""
        shape = (len(keys), self.length)
        if self.filler == "zeros":
            return np.zeros(shape, dtype=np.int64)
        if self.filler == "random":
            return random.integers(0, self.vocabulary, shape)
        return none_of(random, self.vocabulary, keys, self.length)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Remember what followed each key of the context; a key that stands again is asked."""
        context = 2 * self.pairs
        follows = {tokens[place]: tokens[place + 1] for place in range(0, context, 2)}
        return [IGNORE] * context + [follows.get(token, IGNORE) for token in tokens[context:]]

    def token_to_str(self, token: int) -> str:
        """Keys as k1, k2, ...; values as v0, v1, ...; the id 0 as a dot."""
        half = self.vocabulary // 2
        return "·" if token == 0 else f"k{token}" if token < half else f"v{token - half}"


def spread(random: np.random.Generator, slots: int, power: float, count: int, batch: int) -> Tokens:
    """``count`` of the slots in each row, drawn without replacement with P(slot j) ~ j^(power - 1); B x count.

    The earliest of exponential clocks draw without replacement with the clocks' rates for probabilities.
    """
    unlikelihood = np.arange(1, slots + 1, dtype=np.float64) ** (1 - power)
    clocks = random.standard_exponential((batch, slots)) * unlikelihood
    return np.argsort(clocks, axis=1)[:, :count]


def none_of(random: np.random.Generator, vocabulary: int, excluded: Tokens, length: int) -> Tokens:
    """Rows of ``length`` uniform ids, none of them among the row's excluded ones, which are distinct."""
    drawn = random.integers(0, vocabulary - excluded.shape[1], (len(excluded), length))
    # The d-th id that is allowed is d plus the number of excluded ids at or below it. Freed of the ids below them,
    # the excluded ones can be counted at once; in few bits, for adding is what takes the time.
    steps = np.zeros(drawn.shape, dtype=np.int16)
    for banned in (np.sort(excluded, axis=1) - np.arange(excluded.shape[1])).T:
        steps += (drawn >= banned[:, None]).view(np.int8)
    drawn += steps
    return drawn


def without_replacement(random: np.random.Generator, kinds: int, count: int, batch: int) -> Tokens:
    """``count`` distinct numbers below ``kinds`` in each of ``batch`` rows, uniform over ordered draws; B x count."""
    if count * count > kinds:
        return np.argsort(random.random((batch, kinds)), axis=1)[:, :count]
    drawn = random.integers(0, kinds, (batch, count))
    again = _repeating(drawn)
    while len(again):
        drawn[again] = random.integers(0, kinds, (len(again), count))
        again = again[_repeating(drawn[again])]
    return drawn


def _repeating(drawn: Tokens) -> Tokens:
    """Rows in which a number stands twice."""
    ordered = np.sort(drawn, axis=1)
    return np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
