"""Stick-breaking: the plain recurrence from the nearest key outwards; where the rest of the stick goes."""

from __future__ import annotations

import math

import pytest
import torch

from tests.attention.row_reference import assert_follows, learned, normalized
from tests.builders import attention_of, noise

MODES = [{"itself": itself, "remainder": remainder} for itself in (False, True) for remainder in (False, True)]
modes = pytest.mark.parametrize(
    "options", MODES, ids=lambda options: ", ".join(w for w in options if options[w]) or "-"
)


def broken(scores: list[float], itself: bool = False, remainder: bool = False) -> list[float]:
    """A stick of length one, from which each key takes its share, the nearest first."""
    stick, row = 1.0, [0.0] * len(scores)
    for j in reversed(range(len(scores) - (not itself))):
        share = 1 / (1 + math.exp(-scores[j]))
        row[j] = stick * share
        stick *= 1 - share
    row[-1] += stick * remainder
    return row


@modes
def test_each_key_takes_its_share_of_what_nearer_ones_left(options: dict[str, bool]) -> None:
    assert_follows("stick-breaking", lambda scores, _: broken(scores, **options), options)


def test_the_query_is_not_among_its_keys_and_the_first_row_is_empty() -> None:
    weights = normalized("stick-breaking", noise(7, 7))
    assert not weights.triu().any()
    assert bool((weights.tril(-1)[1:].sum(-1) > 0).all())


def test_with_the_remainder_rows_sum_to_one() -> None:
    for itself in (False, True):
        options = {"itself": itself, "remainder": True}
        weights = normalized("stick-breaking", 3 * noise(7, 7), options)
        torch.testing.assert_close(weights.sum(-1), torch.ones(7, dtype=torch.float64))
        assert weights[0, 0] == 1


def test_equal_scores_halve_the_stick_at_each_key() -> None:
    weights = normalized("stick-breaking", torch.zeros(6, 6, dtype=torch.float64))
    torch.testing.assert_close(weights[5], torch.tensor([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0], dtype=torch.float64))


@modes
def test_nothing_cancels_beside_huge_scores(options: dict[str, bool]) -> None:
    scores = noise(8, 8)
    scores[:, 3] = -1e8  # takes nothing, leaves everything
    scores[:, 5] = 1e8  # takes everything, leaves nothing
    result = normalized("stick-breaking", scores.float(), options)
    scores = scores.clamp(-50, 50)
    for i in range(8):
        expected = broken(scores[i, : i + 1].tolist(), **options)
        torch.testing.assert_close(result[i, : i + 1], torch.tensor(expected), rtol=1e-5, atol=1e-7)


@modes
@pytest.mark.parametrize("size", [0.0, 1e9])
def test_slopes_are_finite_at_extremes(options: dict[str, bool], size: float) -> None:
    scores = (size * noise(8, 8).float()).requires_grad_()
    weights = normalized("stick-breaking", scores, options)
    weights.square().sum().backward()
    assert scores.grad is not None
    assert bool(weights.isfinite().all() and scores.grad.isfinite().all())
    assert bool((weights.sum(-1) <= 1 + 1e-6).all())


def test_it_learns_no_more_than_softmax() -> None:
    assert learned(attention_of("stick-breaking")) == 4 * 8 * 8
