"""In-context recall: in a series of pairs, predict the value of each key that occurs again.

    inputs   k1 v2 k3 v0 k1 v2 k1 v2 k3
    targets   .  .  .  . v2  . v2  . v0

A series of ``keys * uses`` pairs. Each key is drawn uniformly with replacement, and the token after it is its value in
this sequence. The first use of a key has no target. At every later use the target at the key is its value, which then
follows in the series. The last pair repeats one of the keys so far, uniformly, so that every sequence has a target; its
value is a target and is not part of the input.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         in-context recall with several queries.
Theirs   vocab_size -> 2 keys, seq_len -> 2 keys uses; their baseline of 16 and 128 is keys 8, uses 8.
Differs  no two keys of a sequence share a value, so that all guesses within the context are equally good; training
         supervises the positions of the test (theirs trains on every next token).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall import without_replacement

FULL_WIDTH = 4096
"""Up to this many keys, distributions have an entry for every number of keys, however few there can be."""
EXACT_COST = 2**26
"""Operations up to which a distribution is computed exactly; they take half a second."""

MAX_SLOTS = 2**13
"""The most slots: chance is computed slot by slot."""


class Pairs(NamedTuple):
    """Keys and their values in each slot; the last slot repeats a key. Letters: B rows, S slots."""

    keys_BS: Tokens
    values_BS: Tokens
    again_BS: NDArray[np.bool_]
    """Whether the key has occurred in an earlier slot."""


@register("recall-stream", source="arXiv:2403.17844")
@final
class RecallStream(Task):
    """In a series of pairs of keys and values, predict the value of each key that occurs again.

    Options:
        keys: Keys to draw from; the number of values is the same.
        uses: Pairs per key, on average.
    """

    complexity = "keys"
    chance_guess = "a guess among the values of the context"
    intended_shortcut = "nearest context"

    def __init__(
        self,
        *,
        keys: Annotated[int, Field(ge=2, le=MAX_SLOTS)] = 8,
        uses: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 4,
    ) -> None:
        self.keys, self.slots = keys, keys * uses
        self.vocabulary = 2 * keys
        self.length = 2 * self.slots - 1
        check_slots(self.slots, keys, MAX_SLOTS, where="recall-stream")
        self.chance = seen_value_accuracy(keys, np.ones((1, self.slots - 1)))

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw pairs with replacement; the last value is left out."""
        pairs = draw(random, self.keys, np.ones((batch, self.slots - 1), dtype=np.bool_))
        inputs_BT = np.stack([pairs.keys_BS, pairs.values_BS], axis=2).reshape(batch, -1)[:, :-1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, ::2] = np.where(pairs.again_BS, pairs.values_BS, IGNORE)
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Store what followed each key."""
        known: dict[int, int] = {}
        targets = []
        for position, token in enumerate(tokens):
            targets.append(known.get(token, IGNORE))
            if position % 2:
                known[tokens[position - 1]] = token
        return targets

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ..."""
        return f"k{token}" if token < self.keys else f"v{token - self.keys}"


def draw(random: np.random.Generator, keys: int, content_BS: NDArray[np.bool_]) -> Pairs:
    """Draw keys with replacement in the slots of content, then one more slot that repeats one of them.

    Args:
        random: Generator that is drawn from.
        keys: Keys are 0 .. keys - 1; values are keys .. 2 keys - 1, distinct within a row.
        content_BS: Whether each slot has a pair, bool, B x S; every row needs one at least.

    Returns:
        Keys and values of S + 1 slots, B x (S + 1).
    """
    batch, slots = content_BS.shape
    rows = np.arange(batch)[:, None]
    drawn_BS = random.integers(0, keys, (batch, slots))
    first = earliest(np.where(content_BS, drawn_BS, keys), keys + 1)
    occurred = first[:, :keys] < slots
    last = np.argmax(np.where(occurred, random.random((batch, keys)), -1.0), axis=1)
    keys_BS = np.concatenate([drawn_BS, last[:, None]], axis=1)
    values = keys + without_replacement(random, keys, keys, batch)
    return Pairs(keys_BS, values[rows, keys_BS], first[rows, keys_BS] < np.arange(slots + 1))


def earliest(codes_BS: Tokens, kinds: int) -> Tokens:
    """Find the first slot of each code in each row.

    Args:
        codes_BS: Codes 0 .. kinds - 1, B x S.
        kinds: Number of different codes.

    Returns:
        Index of the first slot with each code, or S where no slot has it, B x kinds.
    """
    batch, slots = codes_BS.shape
    first = np.full(batch * kinds, slots)
    flat = (np.arange(batch)[:, None] * kinds + codes_BS).ravel()
    np.minimum.at(first, flat, np.tile(np.arange(slots), batch))
    return first.reshape(batch, kinds)


def kinds_so_far(keys: int, content_GS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distribution of the number of different keys before each slot and after the last.

    Args:
        keys: Number of keys, drawn uniformly with replacement.
        content_GS: Probability that each slot has a key, G x S, for G independent cases.

    Returns:
        Probability of d = 0 .. keys different keys, (S + 1) x G x (keys + 1).
    """
    number = np.arange(keys + 1)
    seen = np.zeros((len(content_GS), keys + 1))
    seen[:, 0] = 1
    distributions = [seen]
    for content in content_GS.T:
        new = seen * (1 - number / keys) * content[:, None]
        seen = seen - new + np.roll(new, 1, axis=1)
        distributions.append(seen)
    return np.stack(distributions)


def inverse_mean(seen_GD: NDArray[np.float64]) -> float:
    """Mean of 1 / d over d >= 1: the accuracy of a uniform guess among the values so far.

    Args:
        seen_GD: Probability of d = 0 .. D - 1 different keys so far, G x D, for G cases.

    Returns:
        The mean over the cases.
    """
    return float((seen_GD[:, 1:] / np.arange(1, seen_GD.shape[1])).sum(axis=1).mean())


def seen_letter_accuracy(alphabet: int, letters: int) -> float:
    """Accuracy of a uniform guess among the different letters of a string, where the target is one of its letters.

    Args:
        alphabet: Letters are drawn uniformly from so many, with replacement.
        letters: Length of the string.

    Returns:
        The mean of 1 / d over the number d of different letters; of long strings over a large alphabet to six digits,
        from the mean and the variance of d.
    """
    # After so many letters, each letter of the alphabet is missing with a probability below 1e-21.
    steps = min(letters, math.ceil(alphabet * (math.log(alphabet) + 50)))
    most = alphabet if alphabet <= FULL_WIDTH else min(alphabet, letters)
    if steps * most > EXACT_COST:
        return float(_expanded_inverse_mean(alphabet, np.ones((1, 1)), letters)[0])
    number = np.arange(most + 1)
    seen_D = np.zeros(most + 1)
    seen_D[0] = 1
    for _ in range(steps):
        new_D = seen_D * (1 - number / alphabet)
        seen_D = seen_D - new_D + np.roll(new_D, 1)
    return inverse_mean(seen_D[None])


def _expanded_inverse_mean(keys: int, content_GS: NDArray[np.float64], times: int = 1) -> NDArray[np.float64]:
    """The mean of 1 / d, expanded around the mean of d: 1 / mean + variance / mean^3.

    A key is missing with the probability q that no slot has it, and two keys with p. So the number of missing ones of K
    keys has the mean K q and the variance K q + K (K - 1) p - (K q)^2.

    Args:
        keys: Number of keys, drawn uniformly with replacement.
        content_GS: Probability that each slot has a key, G x S, for G independent cases.
        times: How often the slots are repeated.

    Returns:
        The mean for each case, G.
    """
    one_G, two_G = (np.exp(times * np.log1p(-content_GS * count / keys).sum(axis=1)) for count in (1, 2))
    missing_G = keys * one_G
    variance_G = np.maximum(0.0, missing_G + float(keys) * (keys - 1) * two_G - missing_G**2)
    mean_G = keys - missing_G
    return (1 + variance_G / mean_G**2) / mean_G


def check_slots(slots: int, keys: int, most: int, *, where: str) -> None:
    """Refuse more slots than chance can be computed for in a second.

    Args:
        slots: Slots of a sequence: keys times their uses.
        keys: Keys to draw from.
        most: The most slots.
        where: The task.

    Raises:
        InvalidValueError: There are more.
    """
    if slots > most:
        problem = f"{keys:,} keys of {slots // keys:,} uses are {slots:,} slots; at most {most:,} are accepted."
        raise InvalidValueError(problem, f"Use at most {most // keys:,} uses, or fewer keys.", where=where)


def seen_value_accuracy(keys: int, content_GS: NDArray[np.float64]) -> float:
    """Accuracy of a uniform guess among the values of the keys so far, over all targets of a series.

    With d keys so far, a slot of content has a target with probability d / keys, and the guess is correct with
    probability 1 / d.

    Args:
        keys: Number of keys, drawn uniformly with replacement.
        content_GS: Probability that each slot has a key, G x S, for G independent cases.

    Returns:
        Expected number of correct guesses over the expected number of targets, the final query included; of long series
        of many keys to six digits.
    """
    if content_GS.size * (keys + 1) > EXACT_COST:
        return _long_value_accuracy(keys, content_GS)
    distributions = kinds_so_far(keys, content_GS)
    before = distributions[:-1].transpose(1, 0, 2)
    num_targets = (content_GS * (before * np.arange(keys + 1)).sum(axis=2)).sum(axis=1).mean() / keys
    num_correct = (content_GS * before[:, :, 1:].sum(axis=2)).sum(axis=1).mean() / keys
    return float((num_correct + inverse_mean(distributions[-1])) / (num_targets + 1))


def _long_value_accuracy(keys: int, content_GS: NDArray[np.float64]) -> float:
    """The same from the mean number of keys before each slot, which takes as many operations as there are slots."""

    def none_before(share_GS: NDArray[np.float64]) -> NDArray[np.float64]:
        before_GS = np.cumprod(1 - share_GS, axis=1)
        return np.concatenate([np.ones((len(share_GS), 1)), before_GS[:, :-1]], axis=1)

    num_targets = (content_GS * (1 - none_before(content_GS / keys))).sum(axis=1).mean()
    num_correct = (content_GS * (1 - none_before(content_GS))).sum(axis=1).mean() / keys
    return float((num_correct + _expanded_inverse_mean(keys, content_GS).mean()) / (num_targets + 1))
