"""Capacities against scipy's monotone fit, curves made by hand, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from attnlab.analysis import capacity as module
from attnlab.analysis.capacity import crossings, curve, curves, decreasing
from attnlab.analysis.statistics import UNKNOWN, Interval, Sample
from benchmarks.simulated_seeds import of_cliffs, of_ladders

INF = math.inf


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def capacity(levels: list[float], cells: list[list[float]], share: float) -> tuple[float, Interval]:
    return curve(levels, [Sample(cell) for cell in cells]).capacity(share)


@pytest.mark.parametrize("levels", [1, 2, 5, 12])
def test_the_monotone_fit_is_scipys(levels: int, random: np.random.Generator) -> None:
    curves = random.random((50, levels))
    weights = random.integers(1, 9, levels)
    for own in (None, weights.tolist()):
        theirs = [optimize.isotonic_regression(curve, weights=own, increasing=False).x for curve in curves]
        np.testing.assert_allclose(decreasing(curves, own), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shares", "level", "expected"),
    [
        ([1.0, 1.0, 0.0, 0.0], 0.5, 4 * 2**0.5),  # halfway between 4 and 8, in the logarithm
        ([1.0, 1.0, 0.0, 0.0], 0.9, 4 * 2**0.1),
        ([1.0, 0.5, 0.0, 0.0], 0.5, 4.0),  # it falls below only beyond the level on which it equals the share
        ([1.0, 0.5, 0.5, 0.0], 0.5, 8.0),
        ([1.0, 0.2, 0.6, 0.0], 0.5, 2 * 2 ** (0.5 / 0.6)),  # 0.2 and 0.6 are pooled to 0.4
        ([1.0, 0.9, 0.8, 0.7], 0.5, INF),
        ([0.0, 1.0, 1.0, 1.0], 0.5, INF),  # a miss at the start that the fit averages out
        ([0.4, 0.3, 0.2, 0.1], 0.5, 0.0),
        ([0.5, 0.5, 0.5, 0.5], 0.5, INF),
        ([0.1 + 0.2, 0.3, 0.3, 0.3], 0.3, INF),  # a rounding error is no drop
    ],
)
def test_crossings_of_curves_made_by_hand(shares: list[float], level: float, expected: float) -> None:
    result, _ = capacity([2, 4, 8, 16], [[share] for share in shares], level)
    assert result == pytest.approx(expected, rel=1e-9)


def test_a_ladder_that_begins_at_zero_is_linear() -> None:
    assert crossings([0, 10], np.array([[1.0, 0.0]]), 0.5).tolist() == [5.0]
    assert crossings([3], np.array([[1.0], [0.2]]), 0.5).tolist() == [INF, 0.0]


def test_the_interval_of_a_capacity() -> None:
    """One seed of three falls early: drawn curves fall anywhere, from below the first level to never."""
    cells = [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    middle, (low, high) = capacity([2, 4, 8], cells, 0.5)
    assert 4 < middle < 8
    assert (low, high) == (0.0, INF)


def test_a_sharp_boundary_is_known_within_a_level_with_six_seeds_that_agree() -> None:
    spans = []
    for count in (3, 5, 6, 10):
        cells = [Sample([1.0] * count), Sample([0.0] * count)]
        middle, (low, high) = curve([1, 2, 3, 4], [1.0, *cells, 0.0]).capacity(0.5)
        assert middle == pytest.approx(2 * 1.5**0.5)  # halfway between 2 and 3, in the logarithm
        assert low <= middle <= high
        spans.append((low, high))
    assert spans == [(1, 4), (1, 4), (2, 3), (2, 3)]  # no number of seeds tells where between 2 and 3 it falls


def test_a_level_that_is_known_without_a_run_has_no_spread() -> None:
    fit = curve([2, 4, 8], [1.0, Sample([0.5, 0.6, 0.7]), 0.0])
    assert fit.lower_RC is not None
    assert fit.upper_RC is not None
    assert set(fit.lower_RC[:, 0].tolist()) == {1.0}
    assert set(fit.upper_RC[:, 2].tolist()) == {0.0}
    assert (fit.lower_RC[:, 1] < fit.upper_RC[:, 1]).all()
    assert curve([2, 4], [1.0, 0.0]).capacity(0.5)[1] is UNKNOWN


def test_levels_without_a_run_are_left_out_of_a_capacity() -> None:
    middle, (low, high) = capacity([2, 4, 8, 16], [[1.0] * 3, [], [0.0] * 3, []], 0.5)
    assert middle == pytest.approx(4.0)
    assert low < 4 < high
    assert capacity([2, 4, 8], [[1.0] * 2, [1.0] * 6, [0.0] * 6], 0.5)[1] == (4, 8)
    assert np.isnan(capacity([2, 4, 8], [[1.0] * 2] * 3, 0.5)[1]).all()
    assert np.isnan([capacity([2], [[]], 0.5)[0], *UNKNOWN]).all()


@pytest.mark.parametrize("together", [0.0, 0.8])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_a_capacity_where_runs_solve_or_guess(seeds: int, together: float) -> None:
    observed = of_ladders("C50", together, seeds, 300, np.random.default_rng(seeds))
    assert max(observed.below, observed.above) < 0.025 + 3 * (0.025 * 0.975 / 300) ** 0.5


@pytest.mark.parametrize("spread", [0.0, 0.25])
@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
def test_coverage_of_a_capacity_that_is_anywhere_between_two_levels(seeds: int, spread: float) -> None:
    """Interpolated ends covered 57 of 100 cliffs with ten seeds that agree, and fewer with more seeds."""
    observed = of_cliffs(spread, seeds, 200, np.random.default_rng(seeds))
    assert max(observed.below, observed.above) < 0.025 + 3 * (0.025 * 0.975 / 200) ** 0.5


def test_curves_of_many_variants_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    sizes = [(3, 3, 3), (3, 3, 3), (3, 0, 3), (5, 3, 4), (1, 3, 3), (1, 1, 1), (0, 0, 0), (3, 3, 3), (3, 0, 3)]
    variants: list[list[Sample | float]] = [[Sample(random.random(size).tolist()) for size in own] for own in sizes]
    variants += [[1.0, Sample([0.5, 0.6, 0.7]), 0.0], [1.0, 0.5, 0.0]]
    for block in (1, 2, 50):
        monkeypatch.setattr(module, "BLOCK", block)
        for variant, found in zip(variants, curves([2, 4, 8], variants, 200), strict=True):
            alone = curve([2, 4, 8], variant, 200)
            assert found.complexities == alone.complexities
            np.testing.assert_array_equal(found.fitted_1C, alone.fitted_1C)
            assert (found.lower_RC is None) == (alone.lower_RC is None)
            if found.lower_RC is not None:
                np.testing.assert_array_equal(found.lower_RC, alone.lower_RC)
                np.testing.assert_array_equal(found.upper_RC, alone.upper_RC)
            np.testing.assert_array_equal(found.capacity(0.5)[1], alone.capacity(0.5)[1])
