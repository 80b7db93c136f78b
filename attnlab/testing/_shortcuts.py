"""Cheap ways to an answer, learned from the training stream: what a task is worth beyond them.

    majority         the answer that is due most often
    position         the answer that is due most often at this position
    last value       the last token so far that can be an answer
    unigram          the answer due most often where this token stands
    bigram           likewise for this token and the one before it, or else the unigram
    nearest context  what followed when this token, or these two, last stood in the sequence

All but the last know nothing of this sequence beyond two tokens; where they know no better, they fall back to the
majority. The nearest context looks at one token or at two with one to fall back to, whichever does better in training.

Letters  N questions of a batch, in row-major order; B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnlab.tasks import Batch
from attnlab.tasks.base import Tokens

Guess = Callable[[Batch], Tokens]
"""Answers to the questions of a batch, N."""
Key = Callable[[Batch], Tokens]
"""What a table is asked, N."""


LOOK = 8
"""Training batches on which the two lengths of a context are compared."""


class Table:
    """The commonest answer to each key, and another guess for keys that training never showed."""

    def __init__(self, key: Key, training: Sequence[Batch], otherwise: Guess) -> None:
        keys, answers = (np.concatenate([read(batch) for batch in training]) for read in (key, Batch.query_targets))
        size = int(answers.max()) + 1
        pairs, counts = np.unique(keys * size + answers, return_counts=True)
        order = np.lexsort((-counts, pairs // size))
        self.keys, first = np.unique(pairs[order] // size, return_index=True)
        self.answers = pairs[order][first] % size
        self.key, self.otherwise = key, otherwise

    def __call__(self, batch: Batch) -> Tokens:
        """The commonest answers, N."""
        wanted = self.key(batch)
        positions = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[positions] == wanted, self.answers[positions], self.otherwise(batch))


def commonest(training: Sequence[Batch]) -> dict[str, Guess]:
    """The shortcuts that look at no token, learned from what the training stream shows."""
    majority = _constant(int(np.bincount(np.concatenate([batch.query_targets() for batch in training])).argmax()))
    return {"majority": majority, "position": Table(_position, training, majority)}


def fitted(training: Sequence[Batch], vocabulary: int) -> dict[str, Guess]:
    """Every shortcut by its name, learned from what the training stream shows.

    Args:
        training: At least one batch, which asks something.
        vocabulary: V, above every token.
    """
    blind = commonest(training)
    majority = blind["majority"]
    unigram = Table(_token, training, majority)
    bigram = Table(lambda batch: (_before(batch) + 1) * vocabulary + _token(batch), training, unigram)
    one, two = (_followed(tokens, vocabulary, majority) for tokens in (1, 2))
    some = training[:LOOK]
    return {
        **blind,
        "last value": _last(legal(training, vocabulary), majority),
        "unigram": unigram,
        "bigram": bigram,
        "nearest context": max((one, two), key=lambda guess: sum(hits(guess, batch) for batch in some)),
    }


def hits(guess: Guess, batch: Batch) -> int:
    """How many questions of a batch the guess answers right."""
    return int(batch.correct(guess(batch)).sum())


def legal(training: Sequence[Batch], vocabulary: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which tokens are ever answers, V."""
    answers = np.zeros(vocabulary, dtype=np.bool_)
    for batch in training:
        answers[batch.query_targets()] = True
    return answers


def _token(batch: Batch) -> Tokens:
    return batch.inputs_BT.ravel()[batch.query_positions()]


def _before(batch: Batch) -> Tokens:
    """The token before, or -1 at the beginning."""
    return _earlier(batch.inputs_BT).ravel()[batch.query_positions()]


def _position(batch: Batch) -> Tokens:
    return batch.query_positions() % batch.inputs_BT.shape[1]


def _earlier(inputs_BT: Tokens) -> Tokens:
    return np.pad(inputs_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)


def _constant(answer: int) -> Guess:
    return lambda batch: np.full(len(batch.query_positions()), answer)


def _last(answers_V: np.ndarray[tuple[int], np.dtype[np.bool_]], otherwise: Guess) -> Guess:
    def guess(batch: Batch) -> Tokens:
        inputs_BT = batch.inputs_BT
        positions = np.where(answers_V[inputs_BT], np.arange(inputs_BT.shape[1]), -1)
        last_BT = np.maximum.accumulate(positions, axis=1)
        token_BT = np.take_along_axis(inputs_BT, np.maximum(last_BT, 0), axis=1)
        result = np.where(last_BT >= 0, token_BT, -1).ravel()[batch.query_positions()]
        return np.where(result >= 0, result, otherwise(batch))

    return guess


def _followed(tokens: int, vocabulary: int, otherwise: Guess) -> Guess:
    """What followed when these one or two tokens last stood in the sequence."""
    shorter = _followed(1, vocabulary, otherwise) if tokens == 2 else otherwise

    def guess(batch: Batch) -> Tokens:
        inputs_BT = batch.inputs_BT
        context = inputs_BT if tokens == 1 else (_earlier(inputs_BT) + 1) * vocabulary + inputs_BT
        earlier_N = last_stood(context)[batch.query_positions()]
        after_N = inputs_BT.ravel()[np.minimum(earlier_N + 1, inputs_BT.size - 1)]
        return np.where(earlier_N >= 0, after_N, shorter(batch))

    return guess


def last_stood(context_BT: Tokens) -> Tokens:
    """For each place of the flattened batch, the nearest earlier place of its row with the same context, or -1."""
    order_BT = np.argsort(context_BT, axis=1, kind="stable")
    sorted_BT = np.take_along_axis(context_BT, order_BT, axis=1)
    same = sorted_BT[:, 1:] == sorted_BT[:, :-1]
    found_BT = np.full_like(context_BT, -1)
    starts = np.arange(len(context_BT))[:, None] * context_BT.shape[1]
    np.put_along_axis(found_BT, order_BT[:, 1:], np.where(same, starts + order_BT[:, :-1], -1), axis=1)
    return found_BT.ravel()
