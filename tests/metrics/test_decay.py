"""Decays: the rate of constructed decays, and no fit below the floor."""

from __future__ import annotations

import math

import pytest

from attnlab.metrics.decay import decay
from attnlab.metrics.metric import FLOAT_FLOOR


def test_a_steady_decay_has_its_rate_and_order_one() -> None:
    fit = decay([3.0 * 0.7**layer for layer in range(12)])
    assert fit.rate == pytest.approx(0.7, rel=1e-12)
    assert fit.fit == pytest.approx(1.0, abs=1e-12)
    assert fit.order == pytest.approx(1.0, abs=1e-9)
    assert (fit.points, fit.below) == (12, ())


def test_a_cubic_decay_has_order_three_and_a_poor_line() -> None:
    fit = decay([0.5 ** (3**layer) for layer in range(5)])
    assert fit.order == pytest.approx(3.0, abs=1e-9)
    assert fit.points == 4
    assert fit.below == (4,)
    assert fit.fit < 0.9


def test_values_below_the_floor_are_listed_and_not_fitted() -> None:
    values = [1.0, 0.5, 0.25, 0.125]
    floored = decay([*values, 3e-16, 0.0, 2e-16])
    assert floored.below == (4, 5, 6)
    assert (floored.rate, floored.fit, floored.points) == (decay(values).rate, decay(values).fit, 4)
    assert floored.rate == pytest.approx(0.5)


def test_values_after_the_first_below_the_floor_are_not_fitted() -> None:
    """A residual stream in float32 may grow again from an exact zero."""
    assert decay([1.0, 0.5, 0.0, 1e-7, 0.3]).points == 2


def test_the_floor_can_be_that_of_the_type_of_the_trace() -> None:
    assert decay([1.0, 1e-3, 1e-6, 1e-9]).points == 4
    assert decay([1.0, 1e-3, 1e-6, 1e-9], floor=1e-5).points == 2


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0], [math.nan, 1.0], [FLOAT_FLOOR / 2, 1.0]])
def test_fewer_than_two_values_have_no_rate(values: list[float]) -> None:
    fit = decay(values)
    assert math.isnan(fit.rate)
    assert math.isnan(fit.fit)
    assert math.isnan(fit.order)


def test_a_constant_has_rate_one_and_no_order() -> None:
    fit = decay([0.8] * 6)
    assert fit.rate == pytest.approx(1.0)
    assert fit.fit == 1.0
    assert math.isnan(fit.order)


def test_the_first_layers_can_be_left_out() -> None:
    assert decay([9.0, 1.0, 0.5, 0.25], start=1).rate == pytest.approx(0.5)
    assert math.isnan(decay([1.0, math.nan, 0.25, 0.1]).order)
