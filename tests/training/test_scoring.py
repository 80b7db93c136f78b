"""Scores, compared with a loop over rows and columns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnlab.records import wilson_interval
from attnlab.tasks import IGNORE, Batch
from attnlab.training.scoring import joined, score


def random_batch(seed: int, rows: int = 6, columns: int = 5) -> Batch:
    random = np.random.default_rng(seed)
    inputs = random.integers(0, 3, (rows, columns))
    targets = np.where(random.random((rows, columns)) < 0.5, random.integers(0, 3, (rows, columns)), IGNORE)
    targets[0] = IGNORE
    return Batch(inputs, targets)


def test_query_positions_are_in_row_major_order() -> None:
    batch = Batch(np.zeros((2, 3), np.int64), np.array([[IGNORE, 7, 8], [9, IGNORE, IGNORE]]))
    assert batch.query_positions().tolist() == [1, 2, 3]
    assert batch.query_targets().tolist() == [7, 8, 9]


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_those_of_a_slow_loop(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    batches = [random_batch(seed), random_batch(seed + 50, rows=3)]
    predictions = [
        np.where(
            random.random(len(b.query_targets())) < 0.7,
            b.query_targets(),
            random.integers(0, 3, len(b.query_targets())),
        )
        for b in batches
    ]
    correct = queries = matches = sequences = 0
    match_chances, sums = [], [0, 0, 0]
    for batch, predicted in zip(batches, predictions, strict=True):
        tokens = iter(predicted.tolist())
        for row in batch.targets_BT.tolist():
            targets = [target for target in row if target != IGNORE]
            hits = [next(tokens) == target for target in targets]
            correct, queries = correct + sum(hits), queries + len(hits)
            products = sum(hits) ** 2, sum(hits) * len(hits), len(hits) ** 2
            sums = [one + product for one, product in zip(sums, products, strict=True)]
            if targets:
                matches, sequences = matches + all(hits), sequences + 1
                match_chances.append(0.25 ** len(targets))
    accuracy, exact_match, *_ = score(batches, predictions, 0.25)
    assert (accuracy.correct, accuracy.total, accuracy.chance) == (correct, queries, 0.25)
    assert (exact_match.correct, exact_match.total) == (matches, sequences)
    assert exact_match.chance == pytest.approx(sum(match_chances) / len(match_chances))
    assert 0 < matches < sequences
    assert accuracy.sequences is not None
    assert [value for _, value in accuracy.sequences] == [sequences, *sums]
    assert exact_match.interval == wilson_interval(matches, sequences)
    parts = [score([batch], [predicted], 0.25) for batch, predicted in zip(batches, predictions, strict=True)]
    together = joined(parts, 0.25, nats=3.0)
    assert together.accuracy == accuracy
    assert together.exact_match.model_copy(update={"chance": exact_match.chance}) == exact_match
    assert together.exact_match.chance == pytest.approx(exact_match.chance)
    assert together.loss == 3.0 / queries


def test_without_query_positions_there_is_no_score() -> None:
    empty = Batch(np.zeros((2, 3), np.int64), np.full((2, 3), IGNORE))
    accuracy, exact_match, *_ = score([empty], [np.zeros(0, np.int64)], 0.5)
    assert (accuracy.total, exact_match.total, exact_match.chance) == (0, 0, 0.5)
    assert math.isnan(accuracy.mean)
