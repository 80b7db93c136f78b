"""Fuzzy recall: keys and values are motifs of one to three tokens, without separators.

    inputs    ·  · k4 v0 v7 k1 k4 v2 k4 v0 v7 k1 k4
    targets   .  .  .  .  .  .  .  . v0 v7  .  . v2

A motif is an ordered draw of ids without repetition: key ids for keys, value ids for values. So a change from key ids
to value ids or back is the only boundary. Sizes are uniform, ``shortest .. motif`` for keys and ``1 .. motif`` for
values, and so are the motifs of a size. A key that occurs again is followed by its first value again, and each token of
that value is the target of the position before it. Whether the key k4 has ended or goes on to k4 k1 is determined by
the query, not by the tokens before it. The last pair repeats one of the keys so far, uniformly. The remaining positions
are at the front and filled with dots.

Source   Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD), arXiv:2403.17844, and its code:
         fuzzy in-context recall.
Theirs   vocab_size -> ids + value_ids + 1, seq_len -> length, k_motif_size and v_motif_size -> motif. The benchmark's
         vocabulary of 16 is ``ids: 7, value_ids: 8``.
Differs  one drawn pair is repeated at the end, where theirs inserts a pair for it; training and test draw keys of the
         same sizes and supervise the same positions (theirs trains on every next token and tests keys of the largest
         size only: ``shortest`` as large as ``motif``, and ``training: {shortest: 1}`` in the ladder, come close); the
         default has as many key ids as value ids.
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
    """In a series of keys and values of several tokens, predict the value of each key that occurs again.

    Options:
        length: Tokens of a sequence; at least four times the longest motif, less one.
        ids: Number of key ids.
        value_ids: Number of value ids; None takes as many as key ids.
        motif: Length of the longest key or value, in tokens.
        shortest: Length of the shortest key, in tokens.
    """

    complexity = "length"

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=3)] = 32,
        ids: Annotated[int, Field(ge=2)] = 8,
        value_ids: Annotated[int, Field(ge=2)] | None = None,
        motif: Annotated[int, Field(ge=1, le=8)] = 3,
        shortest: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        if shortest > motif:
            problem = f"The shortest key, of {shortest} tokens, is longer than the longest motif, of {motif}."
            raise InvalidValueError(problem, f"Use at most {motif}.", where="recall-fuzzy")
        self.ids, self.value_ids = ids, ids if value_ids is None else value_ids
        if motif > (fewest := min(self.ids, self.value_ids)):
            problem = f"Motifs of {motif} tokens do not repeat any, and there are {fewest} ids."
            raise InvalidValueError(
                problem, f"Use at most {fewest} tokens, or at least {motif} ids.", where="recall-fuzzy"
            )
        if length < 4 * motif - 1:
            problem = f"Two pairs of motifs of {motif} do not fit {length} tokens."
            hint = f"Use at most {(length + 1) // 4}, or a length of at least {4 * motif - 1}."
            raise InvalidValueError(problem, hint, where="recall-fuzzy")
        self.length, self.motif, self.shortest = length, motif, shortest
        self.vocabulary = self.ids + self.value_ids + 1

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw more pairs than can fit; keep those that do, repeat one of them, and fill the front with dots."""
        capacity = self.length + 1 - 2 * self.motif
        slots = capacity // (self.shortest + 1)
        keys, key_sizes = self._motifs(random, batch, slots, self.shortest, self.ids)
        values, value_sizes = self._motifs(random, batch, slots, 1, self.value_ids)
        first_BS = _first(keys)
        values = np.take_along_axis(values, first_BS[:, :, None], axis=1)
        value_sizes = np.take_along_axis(value_sizes, first_BS, axis=1)
        fits_BS = np.cumsum(key_sizes + value_sizes, axis=1) <= capacity
        new_BS = first_BS == np.arange(slots)
        again = np.argmax(np.where(fits_BS & new_BS, random.random((batch, slots)), -1.0), axis=1)[:, None]
        order = np.concatenate([np.broadcast_to(np.arange(slots), (batch, slots)), again], axis=1)
        shown = np.concatenate([fits_BS, np.ones_like(again, dtype=np.bool_)], axis=1)
        queried = np.concatenate([~new_BS, np.ones_like(again, dtype=np.bool_)], axis=1)
        tokens = np.concatenate([keys, np.where(values < 0, values, values + self.ids)], axis=2)
        tokens = np.take_along_axis(tokens, order[:, :, None], axis=1)
        targets = np.where(queried[:, :, None] & (tokens >= self.ids), tokens, IGNORE)
        return self._right_aligned(tokens, targets, shown)

    def _motifs(
        self, random: np.random.Generator, batch: int, slots: int, shortest: int, count: int
    ) -> tuple[Tokens, Tokens]:
        """Draw motifs, B x S x motif with -1 after their end, and their sizes, B x S."""
        sizes = random.integers(shortest, self.motif + 1, (batch, slots))
        ids = without_replacement(random, count, self.motif, batch * slots).reshape(batch, slots, self.motif)
        return np.where(np.arange(self.motif) < sizes[:, :, None], ids, -1), sizes

    def _right_aligned(self, tokens: Tokens, targets: Tokens, shown_BS: NDArray[np.bool_]) -> Batch:
        """The tokens of the kept slots without gaps, aligned to the right, and the targets one step later."""
        present = (shown_BS[:, :, None] & (tokens >= 0)).reshape(len(tokens), -1)
        rows, columns = np.nonzero(present)
        columns_out = np.cumsum(present, axis=1) + (self.length - present.sum(axis=1))[:, None]
        aligned = np.full((len(tokens), self.length + 1), self.vocabulary - 1)
        aligned_targets = np.full_like(aligned, IGNORE)
        aligned[rows, columns_out[rows, columns]] = tokens.reshape(len(tokens), -1)[rows, columns]
        aligned_targets[rows, columns_out[rows, columns]] = targets.reshape(len(tokens), -1)[rows, columns]
        return Batch(aligned[:, :-1], aligned_targets[:, 1:])

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read motif by motif; where a known key is followed by a value token, that token is the target."""
        known: dict[tuple[int, ...], list[int]] = {}
        targets, key, value = [], [], []  # type: ignore[var-annotated]  # lists of ids
        for position, token in enumerate(tokens):
            if token < self.ids:
                if value:
                    known[tuple(key)] = value
                    key, value = [], []
                key.append(token)
            elif token < self.vocabulary - 1:
                value.append(token)
            value_next = position + 1 == len(tokens) or self.ids <= tokens[position + 1] < self.vocabulary - 1
            targets.append(known[tuple(key)][len(value)] if value_next and tuple(key) in known else IGNORE)
        return targets

    def token_to_str(self, token: int) -> str:
        """Key ids as k0, k1, ...; value ids as v0, v1, ...; the filler at the front as dots."""
        if token == self.vocabulary - 1:
            return "·"
        return f"k{token}" if token < self.ids else f"v{token - self.ids}"


def _first(motifs: Tokens) -> Tokens:
    """Index of the first slot of the row with the same motif, B x S."""
    base = int(motifs.max()) + 2
    codes_BS = (motifs + 1) @ base ** np.arange(motifs.shape[2])
    # Equal motifs are neighbors in a stable order, the first slot before the others.
    order_BS = np.argsort(codes_BS, axis=1, kind="stable")
    ordered_BS = np.take_along_axis(codes_BS, order_BS, axis=1)
    starts_BS = np.diff(ordered_BS, axis=1, prepend=ordered_BS[:, :1] - 1) != 0
    start_BS = np.maximum.accumulate(np.where(starts_BS, np.arange(codes_BS.shape[1]), 0), axis=1)
    first_BS = np.empty_like(order_BS)
    np.put_along_axis(first_BS, order_BS, np.take_along_axis(order_BS, start_BS, axis=1), axis=1)
    return first_BS
