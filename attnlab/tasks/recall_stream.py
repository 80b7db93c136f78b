"""In-context recall: in a stream of pairs, answer each key that has come before.

    inputs   k1 v2 k3 v0 k1 v2 k1 v2 k3
    answers   .  .  .  . v2  . v2  . v0

A stream of ``keys * uses`` pairs. Each key is drawn uniformly with replacement; what follows it is its value in this
sequence. Its first use asks nothing; at every later use the value is due on the key itself, and then stands in the
stream. The last pair repeats one of the keys so far, each as likely as the others, so that every sequence asks
something; its value is due and not shown.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         in-context recall with several queries.
Theirs   vocab_size -> 2 keys, seq_len -> 2 keys uses; their baseline of 16 and 128 is keys 8, uses 8.
Differs  no two keys of a sequence share a value, so that no guess within the context is better than another;
         training asks what the test asks (theirs trains on every next token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.recall import without_replacement


class Pairs(NamedTuple):
    """Keys and their values, slot by slot; the last slot repeats a key. Letters: S slots."""

    keys_BS: Tokens
    values_BS: Tokens
    again_BS: NDArray[np.bool_]
    """Whether the key has come before."""


@register("recall-stream", source="arXiv:2403.17844")
@final
class RecallStream(Task):
    """In a stream of pairs of keys and values, answer each key that has come before.

    Options:
        keys: Keys to draw from, and as many values.
        uses: Pairs of the stream for each key, on average.
    """

    complexity = "keys"
    intended_shortcut = "nearest context"

    def __init__(self, *, keys: Annotated[int, Field(ge=2)] = 8, uses: Annotated[int, Field(ge=1)] = 4) -> None:
        self.keys, self.slots = keys, keys * uses
        self.vocabulary = 2 * keys
        self.length = 2 * self.slots - 1
        self.chance = blind(keys, np.ones((1, self.slots - 1)))

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Pairs drawn with replacement, without the very last value."""
        pairs = draw(random, self.keys, np.ones((batch, self.slots - 1), dtype=np.bool_))
        inputs_BT = np.stack([pairs.keys_BS, pairs.values_BS], axis=2).reshape(batch, -1)[:, :-1]
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, ::2] = np.where(pairs.again_BS, pairs.values_BS, IGNORE)
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Remember what followed each key."""
        known: dict[int, int] = {}
        answers = []
        for place, token in enumerate(tokens):
            answers.append(known.get(token, IGNORE))
            if place % 2:
                known[tokens[place - 1]] = token
        return answers

    def token_to_str(self, token: int) -> str:
        """Keys as k0, k1, ...; values as v0, v1, ..."""
        return f"k{token}" if token < self.keys else f"v{token - self.keys}"


def draw(random: np.random.Generator, keys: int, content_BS: NDArray[np.bool_]) -> Pairs:
    """Keys with replacement in the slots of content, then one more slot that repeats one of them.

    Keys are the ids below ``keys``; values, distinct within a row, the ids from there to twice as many.
    """
    batch, slots = content_BS.shape
    rows = np.arange(batch)[:, None]
    drawn_BS = random.integers(0, keys, (batch, slots))
    first = earliest(np.where(content_BS, drawn_BS, keys), keys + 1)
    came = first[:, :keys] < slots
    last = np.argmax(np.where(came, random.random((batch, keys)), -1.0), axis=1)
    keys_BS = np.concatenate([drawn_BS, last[:, None]], axis=1)
    values = keys + without_replacement(random, keys, keys, batch)
    return Pairs(keys_BS, values[rows, keys_BS], first[rows, keys_BS] < np.arange(slots + 1))


def earliest(codes_BS: Tokens, kinds: int) -> Tokens:
    """The first slot of the row that holds each code below ``kinds``, or the number of slots; B x kinds."""
    batch, slots = codes_BS.shape
    first = np.full(batch * kinds, slots)
    flat = (np.arange(batch)[:, None] * kinds + codes_BS).ravel()
    np.minimum.at(first, flat, np.tile(np.arange(slots), batch))
    return first.reshape(batch, kinds)


def kinds_so_far(keys: int, content_GS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance that d different keys have come before each slot and after the last, where a slot holds one with the
    given chance; (S + 1) x G x (keys + 1). G stands for cases of their own.
    """  # noqa: D205
    number = np.arange(keys + 1)
    seen = np.zeros((len(content_GS), keys + 1))
    seen[:, 0] = 1
    course = [seen]
    for content in content_GS.T:
        new = seen * (1 - number / keys) * content[:, None]
        seen = seen - new + np.roll(new, 1, axis=1)
        course.append(seen)
    return np.stack(course)


def inverse_mean(seen_GD: NDArray[np.float64]) -> float:
    """Mean of 1 / d, at least one key having come: what a guess among the values so far is worth."""
    return float((seen_GD[:, 1:] / np.arange(1, seen_GD.shape[1])).sum(axis=1).mean())


def blind(keys: int, content_GS: NDArray[np.float64]) -> float:
    """Accuracy of guessing among the values of the keys so far, over all questions of a stream.

    With d keys so far, a slot of content asks with chance d / keys, and such a guess is right with chance 1 / d.
    """
    course = kinds_so_far(keys, content_GS)
    before = course[:-1].transpose(1, 0, 2)
    requested = (content_GS * (before * np.arange(keys + 1)).sum(axis=2)).sum(axis=1).mean() / keys
    right = (content_GS * before[:, :, 1:].sum(axis=2)).sum(axis=1).mean() / keys
    return float((right + inverse_mean(course[-1])) / (requested + 1))
