"""Fourier positions: against the formula, number by number."""

from __future__ import annotations

import math

import pytest
import torch

from tests.builders import noise, position_of


@pytest.mark.parametrize(("width", "base"), [(8, 10_000.0), (8, 30.0), (9, 10_000.0)])
def test_features_are_those_of_the_formula(width: int, base: float) -> None:
    position, x = position_of("fourier", {"base": base}, width=width, heads=1).double(), noise(2, 40, width)
    added = position.embed(x) - x
    pairs = [math.pi * base ** (-2 * m / width) for m in range(math.ceil(width / 2))]
    for t in range(40):
        features = [math.sin(t * w) for w in pairs] + [math.cos(t * w) for w in pairs[: width // 2]]
        assert added[1, t].tolist() == pytest.approx([math.sqrt(2) * one for one in features], abs=1e-12)


def test_one_feature_changes_sign_from_each_token_to_the_next() -> None:
    added = position_of("fourier").embed(torch.zeros(1, 50, 8))[0]
    alternating = math.sqrt(2) * (1 - 2 * (torch.arange(50) % 2)).float()
    torch.testing.assert_close(added[:, 4], alternating, rtol=0, atol=1e-5)


def test_features_have_a_mean_square_of_one() -> None:
    added = position_of("fourier", width=64, heads=2).embed(torch.zeros(1, 300, 64))
    torch.testing.assert_close(added.square().mean(-1), torch.ones(1, 300), rtol=0, atol=1e-5)


def test_it_has_no_parameters_and_extends_to_longer_sequences() -> None:
    position = position_of("fourier", length=4)
    assert list(position.parameters()) == []
    assert position.embed(torch.zeros(1, 9, 8)).isfinite().all()


def test_features_are_exact_in_half_precision() -> None:
    position, x = position_of("fourier"), torch.zeros(1, 500, 8)
    halved = position.bfloat16().embed(x.bfloat16())
    assert halved.dtype == torch.bfloat16
    assert (halved.float() - position.embed(x)).abs().max() < 0.01
