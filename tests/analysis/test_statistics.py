"""Intervals and summaries against scipy's own functions, naive definitions, and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from attnlab.analysis import statistics
from attnlab.analysis.statistics import (
    LEVEL,
    UNKNOWN,
    Floats,
    capacity,
    crossings,
    decreasing,
    expanded,
    improvement,
    interquartile_mean,
    intervals,
    stratified,
)
from attnlab.records import wilson_interval

INF = math.inf


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize(("right", "total"), [(0, 10), (3, 10), (10, 10), (991, 1000), (1, 1), (4095, 4096)])
def test_wilson_is_scipys(right: int, total: int) -> None:
    ends = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, total) == pytest.approx((ends.low, ends.high), abs=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5, 10, 30])
def test_the_interval_of_a_mean_is_scipys_percentile_bootstrap(size: int, random: np.random.Generator) -> None:
    cells = random.random((4, size))
    theirs = stats.bootstrap(
        (cells,),
        np.mean,
        axis=1,
        method="percentile",
        confidence_level=expanded(size),
        n_resamples=statistics.RESAMPLES,
        rng=statistics._random(size),
    ).confidence_interval
    ours = np.array(intervals(cells.tolist()))
    np.testing.assert_allclose(ours, np.stack([theirs.low, theirs.high], axis=1), rtol=0, atol=1e-12)


def test_cells_of_every_size_keep_their_order() -> None:
    cells = [[0.5], [0.1, 0.3], [], [0.7, 0.7, 0.7], [0.2, 0.4]]
    result = intervals(cells)
    assert [result[index] for index in (1, 3, 4)] == [(0.1, 0.3), (0.7, 0.7), (0.2, 0.4)]
    assert all(math.isnan(end) for index in (0, 2) for end in result[index])
    assert intervals([]) == []


@pytest.mark.parametrize("size", [3, 5, 10, 100])
def test_the_expanded_level_undoes_what_resampling_narrows(size: int) -> None:
    """For normal means: quantiles of the resampled mean are those of Student's t."""
    level = expanded(size)
    quantile = stats.norm.ppf((1 + level) / 2) * math.sqrt((size - 1) / size)
    assert quantile == pytest.approx(stats.t.ppf((1 + LEVEL) / 2, size - 1), rel=1e-6)
    assert LEVEL < level < 1


@pytest.mark.parametrize(("size", "stated"), [(2, 0.50), (3, 0.75), (5, 0.92), (10, 0.94)])
def test_coverage_of_normal_seeds_is_as_the_docstring_states(
    size: int, stated: float, random: np.random.Generator
) -> None:
    covered = [low <= 0.0 <= high for low, high in intervals(random.normal(size=(4000, size)).tolist())]
    assert np.mean(covered) == pytest.approx(stated, abs=0.02)


@pytest.mark.parametrize(("size", "stated"), [(2, 0.50), (3, 0.75), (5, 0.94), (10, 0.98)])
def test_coverage_of_all_or_nothing_is_as_the_docstring_states(
    size: int, stated: float, random: np.random.Generator
) -> None:
    """Each seed solves the level or is stuck at chance, half of them each."""
    accuracies = np.where(random.random((4000, size)) < 0.5, 0.995, 0.25)
    covered = [low <= 0.6225 <= high for low, high in intervals(accuracies.tolist())]
    assert np.mean(covered) == pytest.approx(stated, abs=0.02)


@pytest.mark.parametrize(("cells", "size", "stated"), [(2, 3, 0.89), (2, 5, 0.94), (8, 3, 0.95)])
def test_coverage_of_a_mean_over_cells(cells: int, size: int, stated: float, random: np.random.Generator) -> None:
    """Two cells, as in a difference, and eight, as over a ladder: the seeds of all cells give the variation."""

    def mean(drawn: list[Floats]) -> Floats:
        return np.stack([cell.mean(axis=1) for cell in drawn]).mean(axis=0)

    trials = [stratified(mean, list(random.normal(size=(cells, size))))[1] for _ in range(1500)]
    covered = np.mean([low <= 0.0 <= high for low, high in trials])
    assert covered == pytest.approx(stated, abs=0.02)


def test_resampling_never_crosses_cells() -> None:
    """Cells without spread keep their values, however far apart: a pooled bootstrap would mix them."""
    calls: list[list[Floats]] = []

    def spread(drawn: list[Floats]) -> Floats:
        calls.append(drawn)
        return drawn[0].mean(axis=1) - drawn[1].mean(axis=1)

    assert stratified(spread, [[1.0] * 5, [0.0] * 5]) == (1.0, (1.0, 1.0))
    assert stratified(spread, [[0.8, 0.9, 1.0], [0.0, 0.1, 0.2]])[1] == pytest.approx((0.6, 1.0))
    ours, theirs = calls[-1]
    assert (ours.shape, theirs.shape) == ((1000, 3), (1000, 3))
    assert set(np.unique(ours)) == {0.8, 0.9, 1.0}
    assert set(np.unique(theirs)) == {0.0, 0.1, 0.2}
    assert np.corrcoef(ours.mean(axis=1), theirs.mean(axis=1))[0, 1] == pytest.approx(0, abs=0.15)


def test_one_seed_in_a_cell_leaves_the_interval_unknown() -> None:
    value, ends = stratified(lambda drawn: drawn[0].mean(axis=1), [[0.5], [0.2, 0.4]])
    assert value == 0.5
    assert np.isnan(ends).all()
    value, ends = stratified(lambda drawn: drawn[0].mean(axis=1), [])
    assert np.isnan([value, *ends]).all()


def test_equal_cells_give_equal_intervals() -> None:
    cells = [[0.1, 0.5, 0.3], [0.9, 0.8, 0.2]]
    assert interquartile_mean(cells) == interquartile_mean(cells)


@pytest.mark.parametrize(("strata", "size"), [(1, 4), (3, 5), (7, 3), (2, 1)])
def test_interquartile_mean_is_the_trimmed_mean_of_all_scores(
    strata: int, size: int, random: np.random.Generator
) -> None:
    scores = random.random((strata, size))
    middle, (low, high) = interquartile_mean(scores.tolist())
    assert middle == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)
    assert math.isnan(low) if size == 1 else low <= middle <= high


def test_probability_of_improvement_is_counted_pair_by_pair(random: np.random.Generator) -> None:
    ours, theirs = random.integers(0, 4, (5, 3)).tolist(), random.integers(0, 4, (5, 4)).tolist()
    shares = []
    for x, y in zip(ours, theirs, strict=True):
        wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y))
        shares.append(wins / 12)
        assert wins == stats.mannwhitneyu(x, y).statistic
    share, (low, high) = improvement(ours, theirs)
    assert share == pytest.approx(np.mean(shares), abs=1e-12)
    assert 0 <= low <= share <= high <= 1


def test_probability_of_improvement_skips_what_only_one_was_run_on() -> None:
    assert improvement([[0.9, 0.8], []], [[0.1, 0.2], [1.0, 1.0]]) == (1.0, (1.0, 1.0))
    assert math.isnan(improvement([[0.9]], [[]])[0])


def test_improvement_does_not_see_how_far() -> None:
    near = improvement([[0.51, 0.52, 0.4], [0.3, 0.6, 0.5]], [[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]])
    far = improvement([[51, 520, 0.4], [0.003, 0.6, 0.5]], [[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]])
    assert near == far


@pytest.mark.parametrize("levels", [1, 2, 5, 12])
def test_the_monotone_fit_is_scipys(levels: int, random: np.random.Generator) -> None:
    curves = random.random((50, levels))
    theirs = [optimize.isotonic_regression(curve, increasing=False).x for curve in curves]
    np.testing.assert_allclose(decreasing(curves), theirs, rtol=0, atol=1e-12)


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
    """One seed of three falls early: resampled curves fall anywhere from the first level to never."""
    cells = [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    middle, (low, high) = capacity([2, 4, 8], cells, 0.5)
    assert 4 < middle < 8
    assert (2 < low < 4, high) == (True, INF)


def test_levels_without_a_run_are_left_out_of_a_capacity() -> None:
    cells = [[1.0, 1.0], [], [0.0, 0.0], []]
    middle, ends = capacity([2, 4, 8, 16], cells, 0.5)
    assert (middle, *ends) == pytest.approx((4.0, 4.0, 4.0))
    assert np.isnan([capacity([2], [[]], 0.5)[0], *UNKNOWN]).all()


def test_coverage_of_a_capacity(random: np.random.Generator) -> None:
    """Noisy curves: the interval covers the C50 of the true means."""
    means = np.array([1.0, 0.9, 0.6, 0.3, 0.0])
    levels = [2, 4, 8, 16, 32]
    true, _ = capacity(levels, [[mean] for mean in means], 0.5)
    trials = [capacity(levels, (means[:, None] + random.normal(0, 0.1, (5, 5))).tolist(), 0.5)[1] for _ in range(600)]
    assert 0.91 < np.mean([low <= true <= high for low, high in trials]) < 0.99
