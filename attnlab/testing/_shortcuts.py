"""Shortcuts: simple predictors, fitted on the training split, that an audit compares with the task.

    majority         the most frequent target
    position         the most frequent target at this position
    last value       the last token so far that can be a target
    unigram          the most frequent target for this token
    bigram           the most frequent target for this token and the one before it, or else the unigram
    nearest context  the token that followed the last occurrence of this token, or of these two, in the sequence

All but the last use at most two tokens of the sequence, besides ``last value``. Where they do not apply, they fall back
to the majority. The nearest context matches one token, or two tokens with one as fallback, whichever has the higher
training accuracy.

Letters  N supervised positions of a batch, in row-major order; B sequences, T tokens; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnlab.tasks import Batch
from attnlab.tasks.base import Tokens

Predictor = Callable[[Batch], Tokens]
"""Predictions at the supervised positions of a batch, N."""
Key = Callable[[Batch], Tokens]
"""Table keys of the supervised positions of a batch, N."""


COMPARED_BATCHES = 8
"""Training batches on which the two context lengths are compared."""


class TargetTable:
    """Predicts the most frequent target of each key.

    Args:
        key: The key of each supervised position.
        training: Batches that the table is fitted on.
        fallback: Predictor for keys that do not occur in training.
    """

    def __init__(self, key: Key, training: Sequence[Batch], fallback: Predictor) -> None:
        keys, targets = (np.concatenate([read(batch) for batch in training]) for read in (key, Batch.query_targets))
        size = int(targets.max()) + 1
        pairs, counts = np.unique(keys * size + targets, return_counts=True)
        order = np.lexsort((-counts, pairs // size))
        self.keys, first = np.unique(pairs[order] // size, return_index=True)
        self.targets = pairs[order][first] % size
        self.key, self.fallback = key, fallback

    def __call__(self, batch: Batch) -> Tokens:
        """The most frequent target of each key, N."""
        keys = self.key(batch)
        indices = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[indices] == keys, self.targets[indices], self.fallback(batch))


def most_frequent(training: Sequence[Batch]) -> dict[str, Predictor]:
    """The shortcuts that use no token, by name, fitted on training batches."""
    majority = _constant(int(np.bincount(np.concatenate([batch.query_targets() for batch in training])).argmax()))
    return {"majority": majority, "position": TargetTable(_position, training, majority)}


def fit_shortcuts(training: Sequence[Batch], vocabulary: int) -> dict[str, Predictor]:
    """Fit all shortcuts on training batches.

    Args:
        training: At least one batch with a target.
        vocabulary: V, above every token.

    Returns:
        The shortcuts by name.
    """
    without_tokens = most_frequent(training)
    majority = without_tokens["majority"]
    unigram = TargetTable(_token, training, majority)
    bigram = TargetTable(lambda batch: (_previous_token(batch) + 1) * vocabulary + _token(batch), training, unigram)
    one, two = (_nearest_context(tokens, vocabulary, majority) for tokens in (1, 2))
    compared = training[:COMPARED_BATCHES]
    return {
        **without_tokens,
        "last value": _last_value(is_target(training, vocabulary), majority),
        "unigram": unigram,
        "bigram": bigram,
        "nearest context": max((one, two), key=lambda predict: sum(num_correct(predict, batch) for batch in compared)),
    }


def num_correct(predict: Predictor, batch: Batch) -> int:
    """Number of correct predictions on a batch."""
    return int(batch.correct(predict(batch)).sum())


def is_target(training: Sequence[Batch], vocabulary: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each token occurs as a target, V."""
    is_target_V = np.zeros(vocabulary, dtype=np.bool_)
    for batch in training:
        is_target_V[batch.query_targets()] = True
    return is_target_V


def _token(batch: Batch) -> Tokens:
    """The token at each supervised position, N."""
    return batch.inputs_BT.ravel()[batch.query_positions()]


def _previous_token(batch: Batch) -> Tokens:
    """The token before each supervised position, or -1 at the beginning, N."""
    return _shifted(batch.inputs_BT).ravel()[batch.query_positions()]


def _position(batch: Batch) -> Tokens:
    """The position within the sequence, N."""
    return batch.query_positions() % batch.inputs_BT.shape[1]


def _shifted(inputs_BT: Tokens) -> Tokens:
    """The token before each position, or -1 at the beginning, B x T."""
    return np.pad(inputs_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)


def _constant(target: int) -> Predictor:
    """Predict the same token everywhere."""
    return lambda batch: np.full(len(batch.query_positions()), target)


def _last_value(is_target_V: np.ndarray[tuple[int], np.dtype[np.bool_]], fallback: Predictor) -> Predictor:
    """Predict the last token so far that can be a target."""

    def predict(batch: Batch) -> Tokens:
        inputs_BT = batch.inputs_BT
        positions = np.where(is_target_V[inputs_BT], np.arange(inputs_BT.shape[1]), -1)
        last_BT = np.maximum.accumulate(positions, axis=1)
        token_BT = np.take_along_axis(inputs_BT, np.maximum(last_BT, 0), axis=1)
        token_N = np.where(last_BT >= 0, token_BT, -1).ravel()[batch.query_positions()]
        return np.where(token_N >= 0, token_N, fallback(batch))

    return predict


def _nearest_context(tokens: int, vocabulary: int, fallback: Predictor) -> Predictor:
    """Predict the token that followed the last occurrence of these one or two tokens in the sequence."""
    shorter = _nearest_context(1, vocabulary, fallback) if tokens == 2 else fallback

    def predict(batch: Batch) -> Tokens:
        inputs_BT = batch.inputs_BT
        context = inputs_BT if tokens == 1 else (_shifted(inputs_BT) + 1) * vocabulary + inputs_BT
        earlier_N = previous_occurrence(context)[batch.query_positions()]
        after_N = inputs_BT.ravel()[np.minimum(earlier_N + 1, inputs_BT.size - 1)]
        return np.where(earlier_N >= 0, after_N, shorter(batch))

    return predict


def previous_occurrence(context_BT: Tokens) -> Tokens:
    """For each index of the flattened batch, the nearest earlier index of its row with the same context, or -1."""
    order_BT = np.argsort(context_BT, axis=1, kind="stable")
    sorted_BT = np.take_along_axis(context_BT, order_BT, axis=1)
    same = sorted_BT[:, 1:] == sorted_BT[:, :-1]
    previous_BT = np.full_like(context_BT, -1)
    starts = np.arange(len(context_BT))[:, None] * context_BT.shape[1]
    np.put_along_axis(previous_BT, order_BT[:, 1:], np.where(same, starts + order_BT[:, :-1], -1), axis=1)
    return previous_BT.ravel()
