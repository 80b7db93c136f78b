"""Stick-breaking: against the recurrence from the nearest key backwards; the remainder."""

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


def stick_row(scores: list[float], itself: bool = False, remainder: bool = False) -> list[float]:
    """Each key takes a fraction of what is left of one, the nearest first."""
    left, row = 1.0, [0.0] * len(scores)
    for j in reversed(range(len(scores) - (not itself))):
        share = 1 / (1 + math.exp(-scores[j]))
        row[j] = left * share
        left *= 1 - share
    row[-1] += left * remainder
    return row


@modes
def test_each_key_takes_a_fraction_of_what_nearer_keys_leave(options: dict[str, bool]) -> None:
    assert_follows("stick-breaking", lambda scores, _: stick_row(scores, **options), options)


def test_a_query_does_not_attend_to_itself_and_the_first_row_is_zero() -> None:
    weights = normalized("stick-breaking", noise(7, 7))
    assert not weights.triu().any()
    assert bool((weights.tril(-1)[1:].sum(-1) > 0).all())


def test_with_the_remainder_rows_sum_to_one() -> None:
    for itself in (False, True):
        options = {"itself": itself, "remainder": True}
        weights = normalized("stick-breaking", 3 * noise(7, 7), options)
        torch.testing.assert_close(weights.sum(-1), torch.ones(7, dtype=torch.float64))
        assert weights[0, 0] == 1


def test_scores_of_zero_halve_the_rest_at_each_key() -> None:
    weights = normalized("stick-breaking", torch.zeros(6, 6, dtype=torch.float64))
    torch.testing.assert_close(weights[5], torch.tensor([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0], dtype=torch.float64))


@modes
def test_it_is_exact_with_huge_scores(options: dict[str, bool]) -> None:
    scores = noise(8, 8)
    scores[:, 3] = -1e8  # takes nothing, leaves everything
    scores[:, 5] = 1e8  # takes everything, leaves nothing
    result = normalized("stick-breaking", scores.float(), options)
    scores = scores.clamp(-50, 50)
    for i in range(8):
        expected = stick_row(scores[i, : i + 1].tolist(), **options)
        torch.testing.assert_close(result[i, : i + 1], torch.tensor(expected), rtol=1e-5, atol=1e-7)


@modes
@pytest.mark.parametrize("size", [0.0, 1e9])
def test_gradients_are_finite_at_extremes(options: dict[str, bool], size: float) -> None:
    scores = (size * noise(8, 8).float()).requires_grad_()
    weights = normalized("stick-breaking", scores, options)
    weights.square().sum().backward()
    assert scores.grad is not None
    assert bool(weights.isfinite().all() and scores.grad.isfinite().all())
    assert bool((weights.sum(-1) <= 1 + 1e-6).all())


def test_it_has_no_more_parameters_than_softmax() -> None:
    assert learned(attention_of("stick-breaking")) == 4 * 8 * 8
