"""Predictions -> scores: accuracy per query position and exact match per sequence, each beside its chance.

The scorers of a task add means over sequences.

Letters  B batch, T tokens, N query positions of a batch in row-major order, A of the sequence that has most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.records import Score, SequenceMean, SequenceSums
from attnlab.scorer import find_scorer
from attnlab.scorer.base import PADDING
from attnlab.tasks import Batch


class Scored(NamedTuple):
    """The result of an evaluation on some batches."""

    accuracy: Score
    """Per query position."""
    exact_match: Score
    """Per sequence: the predictions at all its query positions are correct."""
    loss: float | None
    """Nats per query position; None without query positions, or if the sum is not finite."""
    scores: dict[str, SequenceMean] = {}
    """The mean over sequences of each scorer of the task, by name."""


def score(
    batches: Sequence[Batch],
    predictions: Sequence[NDArray[np.int64]],
    chance: float,
    nats: float = math.nan,
    *,
    exact_match_chance: float | None = None,
    correct: Sequence[NDArray[np.bool_]] | None = None,
    scorers: Sequence[str] = (),
) -> Scored:
    """Compute accuracy, exact match and loss, and the means of scorers.

    Args:
        batches: Inputs and targets.
        predictions: For each batch the predicted tokens at its query positions, N.
        chance: Chance accuracy at one query position.
        nats: Sum of the cross-entropy over all query positions, in nats; nan, the default, leaves the loss out.
        exact_match_chance: Chance of an exact match; None, the default, takes ``chance ** k`` for a sequence with k
            query positions, which is right if they are guessed independently.
        correct: For each batch which predictions are correct, N; None, the default, takes those that are among the
            accepted tokens.
        scorers: Names of scorers.

    Returns:
        The scores.
    """
    right = queries = matches = 0
    sums, match_chance = np.zeros(4, np.int64), 0.0
    for index, (batch, tokens_N) in enumerate(zip(batches, predictions, strict=True)):
        rows, tokens = batch.targets_BT.shape
        correct_N = batch.correct(tokens_N) if correct is None else correct[index]
        row_N = batch.query_positions() // tokens
        queries_B = np.bincount(row_N, minlength=rows)
        correct_B = np.bincount(row_N[correct_N], minlength=rows)
        right, queries = right + int(correct_N.sum()), queries + len(correct_N)
        has_query_B = queries_B > 0
        matches += int((correct_B == queries_B)[has_query_B].sum())
        products = (correct_B @ correct_B, correct_B @ queries_B, queries_B @ queries_B)
        sums += np.array([has_query_B.sum(), *products])
        match_chance += float((chance ** queries_B[has_query_B]).sum())
    sequences, *squares = sums.tolist()
    accuracy = Score(correct=right, total=queries, chance=chance, sequences=_sums(sequences, *squares))
    mean_chance = match_chance / sequences if sequences else chance
    if exact_match_chance is not None:
        mean_chance = exact_match_chance
    one_each = _sums(sequences, matches, matches, sequences)
    exact_match = Score(correct=matches, total=sequences, chance=mean_chance, sequences=one_each)
    loss = nats / queries if queries and math.isfinite(nats) else None
    return Scored(accuracy, exact_match, loss, {name: _mean(name, batches, predictions) for name in scorers})


def _mean(name: str, batches: Sequence[Batch], predictions: Sequence[NDArray[np.int64]]) -> SequenceMean:
    """The mean of a scorer over all sequences with a query position."""
    scorer = find_scorer(name)
    values = [np.zeros(0)]
    for batch, tokens_N in zip(batches, predictions, strict=True):
        asked_BA = _by_sequence(batch, batch.query_targets())
        if len(asked_BA):
            values.append(np.asarray(scorer.score(_by_sequence(batch, tokens_N), asked_BA), np.float64))
    all_B = np.concatenate(values)
    return SequenceMean(
        count=len(all_B),
        total=float(all_B.sum()),
        squares=float(all_B @ all_B),
        bounds=scorer.bounds,
        higher_is_better=scorer.higher_is_better,
    )


def _by_sequence(batch: Batch, tokens_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens at the query positions of each sequence that has one, B x A, padded."""
    rows, length = batch.targets_BT.shape
    row_N = batch.query_positions() // length
    queries_B = np.bincount(row_N, minlength=rows)
    index_N = np.arange(len(row_N)) - (np.cumsum(queries_B) - queries_B)[row_N]
    tokens_BA = np.full((rows, int(queries_B.max(initial=0))), PADDING, tokens_N.dtype)
    tokens_BA[row_N, index_N] = tokens_N
    return tokens_BA[queries_B > 0]


def _sums(count: int, correct_squared: int, correct_questions: int, questions_squared: int) -> SequenceSums:
    """Name the sums over sequences."""
    return SequenceSums(
        count=count,
        correct_squared=correct_squared,
        correct_questions=correct_questions,
        questions_squared=questions_squared,
    )


def joined(parts: Sequence[Scored], chance: float, nats: float = math.nan) -> Scored:
    """Join the results of evaluations on different sequences.

    Args:
        parts: The results.
        chance: Chance accuracy at one query position, for an evaluation without parts.
        nats: Sum of the cross-entropy over all query positions, in nats; nan, the default, leaves the loss out.

    Returns:
        The result of an evaluation on all of the sequences.
    """
    if not parts:
        return score([], [], chance)
    accuracy = reduce(Score.plus, (one.accuracy for one in parts))
    exact_match = reduce(Score.plus, (one.exact_match for one in parts))
    loss = nats / accuracy.total if accuracy.total and math.isfinite(nats) else None
    scores = {name: reduce(SequenceMean.plus, (one.scores[name] for one in parts)) for name in parts[0].scores}
    return Scored(accuracy, exact_match, loss, scores)
