"""Predictions -> scores: accuracy per query position and exact match per sequence, each beside its chance.

Letters  B batch, T tokens, N query positions of a batch in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.records import Score
from attnlab.tasks import Batch


class Scored(NamedTuple):
    """The result of an evaluation on some batches."""

    accuracy: Score
    """Per query position."""
    exact_match: Score
    """Per sequence: the predictions at all its query positions are correct."""
    loss: float | None
    """Nats per query position; None without query positions, or if the sum is not finite."""


def score(
    batches: Sequence[Batch],
    predictions: Sequence[NDArray[np.int64]],
    chance: float,
    nats: float = math.nan,
    *,
    exact_match_chance: float | None = None,
) -> Scored:
    """Compute accuracy, exact match and loss.

    Args:
        batches: Inputs and targets.
        predictions: For each batch the predicted tokens at its query positions, N.
        chance: Chance accuracy at one query position.
        nats: Sum of the cross-entropy over all query positions, in nats; nan, the default, leaves the loss out.
        exact_match_chance: Chance of an exact match; None, the default, takes ``chance ** k`` for a sequence with k
            query positions, which is right if they are guessed independently.

    Returns:
        The scores.
    """
    correct = queries = matches = sequences = 0
    match_chance = 0.0
    for batch, tokens_N in zip(batches, predictions, strict=True):
        rows, tokens = batch.targets_BT.shape
        correct_N = batch.correct(tokens_N)
        row_N = batch.query_positions() // tokens
        queries_B = np.bincount(row_N, minlength=rows)
        wrong_B = np.bincount(row_N, weights=~correct_N, minlength=rows)
        correct, queries = correct + int(correct_N.sum()), queries + len(correct_N)
        has_query_B = queries_B > 0
        matches, sequences = matches + int((wrong_B[has_query_B] == 0).sum()), sequences + int(has_query_B.sum())
        match_chance += float((chance ** queries_B[has_query_B]).sum())
    accuracy = Score(correct=correct, total=queries, chance=chance)
    mean_chance = match_chance / sequences if sequences else chance
    if exact_match_chance is not None:
        mean_chance = exact_match_chance
    exact_match = Score(correct=matches, total=sequences, chance=mean_chance)
    return Scored(accuracy, exact_match, nats / queries if queries and math.isfinite(nats) else None)
