from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from attnlab.rendering._sparkline import BLOCKS, bars, resample


def test_columns_span_several_lines() -> None:
    assert bars([0, 0.5, 1], width=3, height=2, low=0, high=1) == [" ▁█", "▁██"]


def test_values_outside_the_range_are_clipped() -> None:
    assert bars([-5, 5], width=2, height=1, low=0, high=1) == ["▁█"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_blank(value: float) -> None:
    assert bars([1, value, 1], width=3, height=1, low=0, high=1) == ["█ █"]


def test_an_empty_curve_is_blank() -> None:
    assert bars([], width=3, height=2, low=0, high=1) == ["   ", "   "]


def test_an_empty_range_shows_the_lowest_block() -> None:
    assert bars([3, 3], width=2, height=1, low=3, high=3) == ["▁▁"]


def test_resampling_takes_means_of_sections() -> None:
    assert resample([1, 3, 5, 7], 2) == [2, 6]
    assert resample([1, 2], 2) == [1, 2]


@given(
    some.lists(some.floats(-10, 10), max_size=300), some.integers(1, 60), some.integers(1, 5), some.floats(0.001, 20)
)
def test_a_curve_has_its_size_for_all_values(values: list[float], width: int, height: int, high: float) -> None:
    lines = bars(values, width=width, height=height, low=0, high=high)
    assert [len(line) for line in lines] == [width] * height
    assert set("".join(lines)) <= set(BLOCKS)
    shown = min(len(values), width)
    assert len(lines[-1].rstrip()) == shown


@given(some.lists(some.floats(-10, 10), min_size=1, max_size=300), some.integers(1, 60))
def test_resampling_stays_within_the_values(values: list[float], width: int) -> None:
    result = resample(values, width)
    assert len(result) == min(len(values), width)
    assert min(values) - 1e-9 <= min(result) <= max(result) <= max(values) + 1e-9
