"""Sinusoidal positions: against the formula, number by number."""

from __future__ import annotations

import math

import pytest
import torch

from tests.builders import noise, position_of


@pytest.mark.parametrize("base", [10_000.0, 30.0])
def test_sinusoids_are_those_of_the_formula(base: float) -> None:
    position, x = position_of("sinusoidal", {"base": base}).double(), noise(2, 40, 8)
    added = position.embed(x) - x
    for t in range(40):
        for m in range(4):
            angle = t * base ** (-2 * m / 8)
            assert float(added[0, t, m]) == pytest.approx(math.sin(angle), abs=1e-12)
            assert float(added[1, t, 4 + m]) == pytest.approx(math.cos(angle), abs=1e-12)


def test_sinusoids_are_exact_in_half_precision() -> None:
    position, x = position_of("sinusoidal"), torch.zeros(1, 500, 8)
    exact = position.embed(x)
    halved = position.bfloat16().embed(x.bfloat16())
    assert halved.dtype == torch.bfloat16
    assert (halved.float() - exact).abs().max() < 0.01


def test_it_has_no_parameters_and_extends_to_longer_sequences() -> None:
    position = position_of("sinusoidal", length=4)
    assert list(position.parameters()) == []
    assert position.embed(torch.zeros(1, 9, 8)).isfinite().all()


def test_an_odd_width_has_one_cosine_less() -> None:
    position, x = position_of("sinusoidal", width=9, heads=3).double(), torch.zeros(1, 20, 9, dtype=torch.float64)
    added = position.embed(x)[0]
    for t in range(20):
        angles = [t * 10_000 ** (-2 * m / 9) for m in range(5)]
        expected = [*map(math.sin, angles), *map(math.cos, angles[:4])]
        assert added[t].tolist() == pytest.approx(expected, abs=1e-12)
