"""Sigmoid and ReLU attention: against their formulas."""

from __future__ import annotations

import math

import torch

from tests.attention.row_reference import assert_follows, learned, normalized
from tests.builders import LENGTH, attention_of, noise


def test_sigmoid_is_its_formula() -> None:
    assert_follows("sigmoid", lambda scores, _: [1 / (1 + LENGTH * math.exp(-s)) for s in scores])
    assert_follows("sigmoid", lambda scores, _: [1 / (1 + math.exp(-s - 2)) for s in scores], {"bias": 2.0})


def test_a_row_of_zeros_is_about_one_at_the_longest_length_and_half_its_length_without_bias() -> None:
    zeros = torch.zeros(LENGTH, LENGTH, dtype=torch.float64)
    assert math.isclose(float(normalized("sigmoid", zeros)[-1].sum()), LENGTH / (1 + LENGTH))
    assert math.isclose(float(normalized("sigmoid", zeros, {"bias": 0.0})[-1].sum()), LENGTH / 2)


def test_the_bias_does_not_depend_on_the_length_of_the_sequence() -> None:
    scores = noise(7, 7)
    torch.testing.assert_close(normalized("sigmoid", scores)[:3, :3], normalized("sigmoid", scores[:3, :3]))


def test_relu_divides_by_the_number_of_keys() -> None:
    assert_follows("relu", lambda scores, _: [max(s, 0) / len(scores) for s in scores])


def test_a_row_without_positive_scores_is_zero_without_gradient() -> None:
    scores = (-noise(6, 6).abs()).requires_grad_()
    weights = normalized("relu", scores)
    weights.sum().backward()
    assert not weights.any()
    assert scores.grad is not None
    assert not scores.grad.any()


def test_neither_has_more_parameters_than_softmax() -> None:
    for name in ("sigmoid", "relu"):
        assert learned(attention_of(name)) == 4 * 8 * 8
