"""Predictions to scores: tokens and whole answers, each against its chance.

Letters  N supervised positions of a batch, in row-major order.
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
    """What a test showed."""

    accuracy: Score
    """Tokens."""
    exact_match: Score
    """Whole answers: every question of a sequence right."""
    loss: float | None
    """Nats per question; none where nothing is asked, or the answer to a question is no number."""


def score(
    batches: Sequence[Batch], predictions: Sequence[NDArray[np.int64]], chance: float, nats: float = math.nan
) -> Scored:
    """Scores of tokens and of whole answers, and the loss.

    Args:
        batches: What was asked.
        predictions: For each batch the predictions at its supervised positions, N.
        chance: Chance of one token; a whole answer of k tokens has ``chance ** k``.
        nats: ChunkedCrossEntropy at all the answers that were due.
    """
    right = questions = perfect = sequences = 0
    lucky = 0.0
    for batch, predicted in zip(batches, predictions, strict=True):
        rows, tokens = batch.targets_BT.shape
        hits = batch.correct(predicted)
        row = batch.query_positions() // tokens
        count = np.bincount(row, minlength=rows)
        missed = np.bincount(row, weights=~hits, minlength=rows)
        right, questions = right + int(hits.sum()), questions + len(hits)
        perfect, sequences = perfect + int((missed[count > 0] == 0).sum()), sequences + int((count > 0).sum())
        lucky += float((chance ** count[count > 0]).sum())
    tokens_score = Score(correct=right, total=questions, chance=chance)
    whole_score = Score(correct=perfect, total=sequences, chance=lucky / sequences if sequences else chance)
    return Scored(tokens_score, whole_score, nats / questions if questions and math.isfinite(nats) else None)
