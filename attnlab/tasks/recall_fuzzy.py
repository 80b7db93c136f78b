"""Fuzzy recall: keys and values are motifs of one to three tokens, with nothing between them.

    inputs    ·  · k4 v0 v7 k1 k4 v2 k4 v0 v7 k1 k4
    answers   .  .  .  .  .  .  .  . v0 v7  .  . v2

A motif is an ordered draw of ids without repetition: of key ids for keys, of value ids for values, so that a change of
kind is the only boundary. Sizes are uniform, ``shortest .. motif`` for keys and ``1 .. motif`` for values, and so are
the motifs of a size. A key that comes again brings its first value again, and each token of it is due on the position
before: whether the key k4 has ended or goes on to k4 k1 is told by the question, not by the tokens before it. The last
pair repeats one of the keys so far, each as likely as the others. What is left of the length stands in front, filled
with dots.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         fuzzy in-context recall.
Theirs   vocab_size -> 2 ids + 1, seq_len -> length, k_motif_size and v_motif_size -> motif.
Differs  one drawn pair is repeated at the end, where theirs plants a pair for it; training and test draw keys of the
         same sizes and ask the same (theirs trains on every next token and tests keys of the largest size only:
         ``shortest`` as large as ``motif``, and ``training: {shortest: 1}`` in the ladder, come close); chance is that
         of the value ids alone: what is frequent in a sequence is a better guess; as many key ids as value ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, register
from attnlab.tasks.recall import without_replacement


@register("recall-fuzzy", source="arXiv:2403.17844")
@final
class RecallFuzzy(Task):
    """In a stream of keys and values of several tokens each, answer each key that has come before.

    Options:
        length: Tokens of a sequence; at least four times the longest motif, less one.
        ids: Tokens to make keys of, and as many for values.
        motif: Tokens of the longest key or value.
        shortest: Tokens of the shortest key.
    """

    complexity = "length"

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=3)] = 32,
        ids: Annotated[int, Field(ge=2)] = 8,
        motif: Annotated[int, Field(ge=1, le=8)] = 3,
        shortest: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        if shortest > motif:
            result = f"The shortest key, of {shortest} tokens, is longer than the longest motif, of {motif}."
            raise InvalidValueError(result, f"Use at most {motif}.", where="recall-fuzzy")
        if motif > ids:
            result = f"Motifs of {motif} tokens do not repeat any, and there are {ids} ids."
            raise InvalidValueError(result, f"Use at most {ids} tokens, or at least {motif} ids.", where="recall-fuzzy")
        if length < 4 * motif - 1:
            result = f"Two pairs of motifs of {motif} do not fit {length} tokens."
            hint = f"Use at most {(length + 1) // 4}, or a length of at least {4 * motif - 1}."
            raise InvalidValueError(result, hint, where="recall-fuzzy")
        self.length, self.ids, self.motif, self.shortest = length, ids, motif, shortest
        self.vocabulary = 2 * ids + 1
        self.chance = 1 / ids

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """More pairs than can fit; those that do, one of them again, and dots in front."""
        room = self.length + 1 - 2 * self.motif
        slots = room // (self.shortest + 1)
        keys, key_sizes = self._motifs(random, batch, slots, self.shortest)
        values, value_sizes = self._motifs(random, batch, slots, 1)
        first_BS = _first(keys)
        values = np.take_along_axis(values, first_BS[:, :, None], axis=1)
        value_sizes = np.take_along_axis(value_sizes, first_BS, axis=1)
        fits_BS = np.cumsum(key_sizes + value_sizes, axis=1) <= room
        new_BS = first_BS == np.arange(slots)
        again = np.argmax(np.where(fits_BS & new_BS, random.random((batch, slots)), -1.0), axis=1)[:, None]
        order = np.concatenate([np.broadcast_to(np.arange(slots), (batch, slots)), again], axis=1)
        shown = np.concatenate([fits_BS, np.ones_like(again, dtype=np.bool_)], axis=1)
        positions = np.concatenate([~new_BS, np.ones_like(again, dtype=np.bool_)], axis=1)
        tokens = np.concatenate([keys, np.where(values < 0, values, values + self.ids)], axis=2)
        tokens = np.take_along_axis(tokens, order[:, :, None], axis=1)
        targets = np.where(positions[:, :, None] & (tokens >= self.ids), tokens, IGNORE)
        return self._pressed(tokens, targets, shown)

    def _motifs(self, random: np.random.Generator, batch: int, slots: int, shortest: int) -> tuple[Tokens, Tokens]:
        """Motifs, B x S x motif with -1 beyond their end, and their sizes."""
        sizes = random.integers(shortest, self.motif + 1, (batch, slots))
        ids = without_replacement(random, self.ids, self.motif, batch * slots).reshape(batch, slots, self.motif)
        return np.where(np.arange(self.motif) < sizes[:, :, None], ids, -1), sizes

    def _pressed(self, tokens: Tokens, targets: Tokens, shown_BS: NDArray[np.bool_]) -> Batch:
        """The tokens of the slots that are shown, gaps closed and set to the right, and what is due one step later."""
        there = (shown_BS[:, :, None] & (tokens >= 0)).reshape(len(tokens), -1)
        rows, columns = np.nonzero(there)
        places = np.cumsum(there, axis=1) + (self.length - there.sum(axis=1))[:, None]
        whole = np.full((len(tokens), self.length + 1), 2 * self.ids)
        answers = np.full_like(whole, IGNORE)
        whole[rows, places[rows, columns]] = tokens.reshape(len(tokens), -1)[rows, columns]
        answers[rows, places[rows, columns]] = targets.reshape(len(tokens), -1)[rows, columns]
        return Batch(whole[:, :-1], answers[:, 1:])

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read motif by motif; where a key is known and a value token comes next, tell which."""
        known: dict[tuple[int, ...], list[int]] = {}
        answers, key, value = [], [], []  # type: ignore[var-annotated]  # lists of ids
        for place, token in enumerate(tokens):
            if token < self.ids:
                if value:
                    known[tuple(key)] = value
                    key, value = [], []
                key.append(token)
            elif token < 2 * self.ids:
                value.append(token)
            reported = place + 1 == len(tokens) or self.ids <= tokens[place + 1] < 2 * self.ids
            answers.append(known[tuple(key)][len(value)] if reported and tuple(key) in known else IGNORE)
        return answers

    def token_to_str(self, token: int) -> str:
        """Key ids as k0, k1, ...; value ids as v0, v1, ...; what stands in front as dots."""
        if token == 2 * self.ids:
            return "·"
        return f"k{token}" if token < self.ids else f"v{token - self.ids}"


def _first(motifs: Tokens) -> Tokens:
    """The earliest slot of the row with the same motif, B x S."""
    base = int(motifs.max()) + 2
    codes = (motifs + 1) @ base ** np.arange(motifs.shape[2])
    return np.argmax(codes[:, :, None] == codes[:, None, :], axis=2)
