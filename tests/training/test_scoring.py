"""Scores against a loop over rows and columns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.training.scoring import score


def drawn(seed: int, rows: int = 6, columns: int = 5) -> Batch:
    random = np.random.default_rng(seed)
    inputs = random.integers(0, 3, (rows, columns))
    targets = np.where(random.random((rows, columns)) < 0.5, random.integers(0, 3, (rows, columns)), IGNORE)
    targets[0] = IGNORE
    return Batch(inputs, targets)


def test_what_is_asked_stands_in_row_major_order() -> None:
    batch = Batch(np.zeros((2, 3), np.int64), np.array([[IGNORE, 7, 8], [9, IGNORE, IGNORE]]))
    assert batch.query_positions().tolist() == [1, 2, 3]
    assert batch.query_targets().tolist() == [7, 8, 9]


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_a_slow_loop(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    batches = [drawn(seed), drawn(seed + 50, rows=3)]
    predictions = [
        np.where(
            random.random(len(b.query_targets())) < 0.7,
            b.query_targets(),
            random.integers(0, 3, len(b.query_targets())),
        )
        for b in batches
    ]
    right = questions = perfect = sequences = 0
    luck = []
    for batch, predicted in zip(batches, predictions, strict=True):
        answers = iter(predicted.tolist())
        for row in batch.targets_BT.tolist():
            wanted = [target for target in row if target != IGNORE]
            hits = [next(answers) == target for target in wanted]
            right, questions = right + sum(hits), questions + len(hits)
            if wanted:
                perfect, sequences = perfect + all(hits), sequences + 1
                luck.append(0.25 ** len(wanted))
    tokens, answers_score, _ = score(batches, predictions, 0.25)
    assert (tokens.correct, tokens.total, tokens.chance) == (right, questions, 0.25)
    assert (answers_score.correct, answers_score.total) == (perfect, sequences)
    assert answers_score.chance == pytest.approx(sum(luck) / len(luck))
    assert 0 < perfect < sequences


def test_where_nothing_is_asked_there_is_no_score() -> None:
    empty = Batch(np.zeros((2, 3), np.int64), np.full((2, 3), IGNORE))
    tokens, answers, _ = score([empty], [np.zeros(0, np.int64)], 0.5)
    assert (tokens.total, answers.total, answers.chance) == (0, 0, 0.5)
    assert math.isnan(tokens.mean)
