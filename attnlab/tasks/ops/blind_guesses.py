"""Blind guesses: predictions that do not look at what is asked. Chance accuracy is that of the best of them.

    any answer    uniform over all answers of the task
    constant      the most frequent answer
    position      the most frequent answer at this position of the sequence
    answer index  the most frequent answer at this index among the answers of a sequence
    seen          uniform over the different tokens so far that are answers of the task

They know the task, its layout and the tokens so far, but not how the tokens depend on one another. The second to fourth
are fitted on other sequences than those they are scored on. Uniform guesses are not drawn: they are scored by their
probability of being correct. What uses more of the sequence, such as its last or its most frequent answer so far, is a
shortcut, not a blind guess: of ``majority``, the most frequent token so far is the solution.

Letters  N supervised positions of a batch, in row-major order; B sequences, T tokens, V vocabulary; U different tokens
         of each sequence, one after another; W accepted tokens of a position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks.batch import IGNORE, Batch, Tokens

Shares = NDArray[np.float64]
Guess = Callable[[Batch], Shares]
"""The probability that the guess is correct at each supervised position of a batch, N."""


def fit_blind_guesses(fitted_on: Sequence[Batch], vocabulary: int) -> dict[str, Guess]:
    """Fit the family of blind guesses.

    Args:
        fitted_on: Sequences that the guesses are fitted on; they must not be those that are scored.
        vocabulary: V, above every token.

    Returns:
        The guesses by name, the simplest first.
    """
    index_of = {"constant": _nothing, "position": _position, "answer index": answer_index}
    tables = {name: _most_frequent(index, fitted_on) for name, index in index_of.items()}
    is_answer_V = np.zeros(vocabulary, dtype=np.bool_)
    for batch in fitted_on:
        accepted_NW = _accepted(batch)
        is_answer_V[accepted_NW[accepted_NW != IGNORE]] = True
    constant = tables["constant"][0]
    deterministic = {name: _table_guess(index_of[name], table, constant) for name, table in tables.items()}
    return {"any answer": _any_answer(is_answer_V), **deterministic, "seen": _seen(is_answer_V)}


def answer_index(batch: Batch) -> Tokens:
    """Index of each supervised position among those of its sequence.

    Args:
        batch: The sequences.

    Returns:
        The indices, counted from 0, N.
    """
    supervised_BT = batch.targets_BT != IGNORE
    return (np.cumsum(supervised_BT, axis=1) - 1).ravel()[batch.query_positions()]


def _nothing(batch: Batch) -> Tokens:
    """The same index at every supervised position, N."""
    return np.zeros(len(batch.query_positions()), dtype=np.int64)


def _position(batch: Batch) -> Tokens:
    """The position within the sequence, N."""
    return batch.query_positions() % batch.inputs_BT.shape[1]


def _most_frequent(index: Callable[[Batch], Tokens], batches: Sequence[Batch]) -> Tokens:
    """The most frequent accepted token at each index, or IGNORE where none occurs; the lowest of equals."""
    indices, tokens = [], []
    for batch in batches:
        accepted_NW = _accepted(batch)
        rows, columns = np.nonzero(accepted_NW != IGNORE)
        indices.append(index(batch)[rows])
        tokens.append(accepted_NW[rows, columns])
    index_A, token_A = np.concatenate(indices), np.concatenate(tokens)
    size = int(token_A.max()) + 1
    pairs, counts = np.unique(index_A * size + token_A, return_counts=True)
    order = np.lexsort((-counts, pairs // size))
    known, first = np.unique(pairs[order] // size, return_index=True)
    table = np.full(int(known[-1]) + 1, IGNORE)
    table[known] = pairs[order][first] % size
    return table


def _table_guess(index: Callable[[Batch], Tokens], table: Tokens, fallback: np.int64) -> Guess:
    """Guess the token of the table; the fallback at an index that the fitted sequences do not have."""

    def guess(batch: Batch) -> Shares:
        index_N = index(batch)
        token_N = np.where(index_N < len(table), table[np.minimum(index_N, len(table) - 1)], IGNORE)
        return batch.correct(np.where(token_N == IGNORE, fallback, token_N)).astype(np.float64)

    return guess


def _any_answer(is_answer_V: NDArray[np.bool_]) -> Guess:
    """Guess uniformly among all answers."""

    def guess(batch: Batch) -> Shares:
        accepted_NW = _accepted(batch)
        possible_NW = (accepted_NW != IGNORE) & is_answer_V[np.maximum(accepted_NW, 0)]
        shares_N: Shares = possible_NW.sum(axis=1) / np.count_nonzero(is_answer_V)
        return shares_N

    return guess


def _seen(is_answer_V: NDArray[np.bool_]) -> Guess:
    """Guess uniformly among the different answers in the input so far; among all answers where there is none."""
    otherwise = _any_answer(is_answer_V)

    def guess(batch: Batch) -> Shares:
        rows, length = batch.inputs_BT.shape
        vocabulary, positions_N = len(is_answer_V), batch.query_positions()
        keys_BT = np.arange(rows)[:, None] * vocabulary + batch.inputs_BT
        keys_U, first_U = np.unique(keys_BT, return_index=True)
        is_first = np.zeros(keys_BT.size, dtype=np.int64)
        is_first[first_U] = is_answer_V[keys_U % vocabulary]
        seen_N = np.cumsum(is_first.reshape(rows, length), axis=1).ravel()[positions_N]
        accepted_NW = _accepted(batch)
        possible_NW = (accepted_NW != IGNORE) & is_answer_V[np.maximum(accepted_NW, 0)]
        wanted_NW = (positions_N // length * vocabulary)[:, None] + np.maximum(accepted_NW, 0)
        index_NW = np.minimum(np.searchsorted(keys_U, wanted_NW), len(keys_U) - 1)
        occurred_NW = (keys_U[index_NW] == wanted_NW) & (first_U[index_NW] <= positions_N[:, None])
        correct_N = (possible_NW & occurred_NW).sum(axis=1)
        return np.where(seen_N > 0, correct_N / np.maximum(seen_N, 1), otherwise(batch))

    return guess


def _accepted(batch: Batch) -> Tokens:
    """All accepted tokens of each supervised position, N x W, padded with IGNORE."""
    return batch.query_targets()[:, None] if batch.accepted_NW is None else batch.accepted_NW
