"""Intervals and summaries against scipy's own functions, naive definitions, and one another."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from attnlab.analysis import statistics
from attnlab.analysis.statistics import (
    LEVEL,
    Interval,
    Sample,
    average,
    clopper_pearson,
    difference,
    improvement,
    interquartile_mean,
    intervals,
    mean,
    ratio,
)
from attnlab.records import wilson_interval

ENOUGH = 0.012
"""Half width of the error that 4,000 draws leave in a limit of a share, at three standard errors."""


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("count", [2, 3, 5, 6, 9, 30, 35, 1000])
def test_equal_numbers_are_their_own_mean(count: int, random: np.random.Generator) -> None:
    for number in (0.658951, 0.7536, 0.9, *random.random(200).tolist()):
        assert average([number] * count) == number
        sample = Sample([number] * count, None)
        assert mean([sample, sample]) == (number, (number, number) if count >= 3 else statistics.UNKNOWN)
        assert difference([sample], [Sample([number] * (count + 1), None)])[0] == 0
        assert interquartile_mean([sample])[0] == number


def test_a_mean_is_that_of_any_order_and_of_large_numbers() -> None:
    assert len({average(order) for order in itertools.permutations([0.1, 0.2, 0.3, 0.7])}) == 1
    assert average([1e308, 1.2e308]) == pytest.approx(1.1e308)
    assert average([math.inf, 1.0]) == math.inf
    assert math.isnan(average([math.inf, -math.inf]))


def interval(values: list[float], bounds: Interval | None = (0.0, 1.0)) -> Interval:
    (ends,) = intervals([Sample(values, bounds)])
    return ends


def cells(rows: list[list[float]]) -> list[Sample]:
    return [Sample(row) for row in rows]


@pytest.mark.parametrize(("right", "total"), [(0, 10), (3, 10), (10, 10), (991, 1000), (1, 1), (4095, 4096)])
def test_wilson_and_clopper_pearson_are_scipys(right: int, total: int) -> None:
    trial = stats.binomtest(right, total)
    ends = trial.proportion_ci(LEVEL, method="wilson")
    assert wilson_interval(right, total) == pytest.approx((ends.low, ends.high), abs=1e-12)
    ends = trial.proportion_ci(LEVEL, method="exact")
    assert clopper_pearson(right, total) == pytest.approx((ends.low, ends.high), abs=1e-12)
    assert np.isnan(clopper_pearson(0, 0)).all()


@pytest.mark.parametrize(("right", "total"), [(0, 3), (3, 3), (1, 5), (4, 5), (5, 10), (19, 20)])
def test_the_interval_of_all_or_nothing_is_clopper_pearsons(right: int, total: int) -> None:
    """Exactly at the bounds; and the drawn limits are the same, as a run just inside the bounds shows."""
    values, bounds = [1.0] * right + [0.2] * (total - right), (0.2, 1.0)
    low, high = (0.2 + 0.8 * end for end in clopper_pearson(right, total))
    assert interval(values, bounds) == pytest.approx((low, high), abs=1e-12)
    inside = [value - 1e-9 if value == 1.0 else value + 1e-9 for value in values]
    assert interval(inside, bounds) == pytest.approx((low, high), abs=ENOUGH)


def test_runs_that_agree_leave_an_interval() -> None:
    """Where the true probability to solve is 0.95, three runs of three are solved 86 times in 100."""
    low, high = interval([1.0] * 3, (0.2, 1.0))
    assert (low, high) == pytest.approx((0.2 + 0.8 * 0.025 ** (1 / 3), 1.0))
    low, high = interval([0.6] * 3, (0.2, 1.0))
    assert 0.2 < low < 0.4
    assert 0.8 < high < 1.0


def test_the_interval_scales_with_the_metric_and_knows_no_order() -> None:
    low, high = interval([0.3, 0.9, 0.5])
    assert interval([0.5, 0.3, 0.9]) == (low, high)
    assert interval([300.0, 900.0, 500.0], (0.0, 1000.0)) == pytest.approx((1000 * low, 1000 * high))
    assert interval([-0.3, -0.9, -0.5], (-1.0, 0.0)) == pytest.approx((-high, -low), abs=2 * ENOUGH)


def test_tighter_bounds_give_a_narrower_interval() -> None:
    tight, loose = interval([0.6, 0.7, 0.8], (0.5, 1.0)), interval([0.6, 0.7, 0.8])
    assert loose[0] < tight[0] < tight[1] == loose[1]


@pytest.mark.parametrize("size", [3, 5, 10])
def test_unbounded_metrics_have_students_interval(size: int, random: np.random.Generator) -> None:
    values = random.normal(size=size)
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(LEVEL)
    assert interval(values.tolist(), None) == pytest.approx((theirs.low, theirs.high))
    assert interval([3.5] * size, None) == (3.5, 3.5)


def test_differences_of_unbounded_metrics_are_scipys_paired_ones(random: np.random.Generator) -> None:
    x, y = random.normal(size=(2, 6))
    theirs = stats.ttest_rel(x, y).confidence_interval(LEVEL)
    value, ends = difference([Sample(x.tolist(), None)], [Sample(y.tolist(), None)])
    assert value == pytest.approx(np.mean(x) - np.mean(y))
    assert ends == pytest.approx((theirs.low, theirs.high))


def test_unbounded_metrics_of_other_seeds_are_not_paired(random: np.random.Generator) -> None:
    x, y = random.normal(size=(2, 6))
    _, (low, high) = difference([Sample(x.tolist(), None)], [Sample(y.tolist(), None, range(6, 12))])
    error = math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 6)
    assert high - low == pytest.approx(2 * stats.t.ppf((1 + LEVEL) / 2, 5) * error)


def test_the_ratio_of_unbounded_metrics_is_fiellers() -> None:
    """At the ends of Fieller's interval, the paired t of x - end * y is at its critical value."""
    x, y = np.array([4.0, 5.0, 4.5, 5.5]), np.array([2.0, 2.1, 2.3, 1.9])
    value, ends = ratio([Sample(x.tolist(), None)], [Sample(y.tolist(), None)])
    assert value == pytest.approx(x.mean() / y.mean())
    assert ends[0] < value < ends[1]
    for end in ends:
        assert stats.ttest_1samp(x - end * y, 0.0).pvalue == pytest.approx(1 - LEVEL)


def test_a_ratio_over_zero_has_no_value_and_one_over_what_may_be_zero_no_interval() -> None:
    over_zero = ratio([Sample([0.5, 0.6, 0.7])], [Sample([0.0, 0.0, 0.0])])
    assert np.isnan([over_zero[0], *over_zero[1]]).all()
    value, ends = ratio([Sample([4.0, 5.0, 6.0], None)], [Sample([-1.0, 0.5, 2.0], None)])
    assert value == pytest.approx(10.0)
    assert np.isnan(ends).all()


def test_infinite_losses_have_no_interval() -> None:
    value, ends = mean([Sample([1.0, math.inf, 2.0], None)])
    assert value == math.inf
    assert np.isnan(ends).all()


def test_cells_of_every_size_keep_their_order() -> None:
    sizes = [1, 3, 0, 5, 3]
    result = intervals([Sample([0.1 * index + 0.01 * seed for seed in range(n)]) for index, n in enumerate(sizes)])
    assert all(np.isnan(result[index]).all() for index in (0, 2))
    assert [low <= 0.1 * index + 0.02 <= high for index, (low, high) in enumerate(result) if sizes[index] > 1] == [
        True
    ] * 3
    assert result[4][0] > result[1][0]
    assert intervals([]) == []


def test_shared_seeds_are_paired() -> None:
    """The same runs differ by nothing on average, and by less than runs of other seeds might."""
    x = Sample([0.2, 0.9, 0.4, 0.95, 0.3, 0.8])
    same, other = difference([x], [x])[1], difference([x], [x._replace(seeds=range(6, 12))])[1]
    assert same[0] < 0 < same[1]
    assert same[1] - same[0] < 0.85 * (other[1] - other[0])


def test_seeds_are_paired_by_their_numbers_not_by_their_places() -> None:
    x, y = [0.2, 0.9, 0.4, 0.95], [0.3, 0.8, 0.5, 0.9]
    there, back = [0, 1, 2, 3], [3, 2, 1, 0]
    paired = difference([Sample(x, seeds=there)], [Sample(y, seeds=there)])
    assert difference([Sample(x, seeds=there)], [Sample(y[::-1], seeds=back)])[1] == pytest.approx(paired[1])
    assert difference([Sample(x, seeds=there)], [Sample(y, seeds=back)])[1] != pytest.approx(paired[1])


@pytest.mark.parametrize(("count", "apart"), [(3, False), (4, False), (5, True), (10, True)])
def test_five_seeds_tell_apart_what_always_solves_from_what_never_does(count: int, apart: bool) -> None:
    value, (low, high) = difference([Sample([1.0] * count)], [Sample([0.0] * count)])
    assert (value, high) == (1.0, 1.0)
    assert (low > 0) is apart


def test_the_seeds_of_several_levels_are_taken_together() -> None:
    """The mean over levels of runs that are alike on all levels is as unsure as that of one level."""
    one = Sample([0.2, 0.9, 0.4, 0.95, 0.3])
    value, ends = mean([one] * 8)
    assert (value, *ends) == pytest.approx((np.mean(one.values), *mean([one])[1]), abs=2 * ENOUGH)
    shuffled = [Sample(list(np.roll(one.values, level))) for level in range(5)]
    assert np.diff(mean(shuffled)[1]) < np.diff(mean([one])[1])


def test_one_seed_in_a_cell_leaves_the_interval_unknown() -> None:
    for value, ends in (mean(cells([[0.5], [0.2, 0.4]])), difference(cells([[0.5]]), cells([[0.1, 0.3]]))):
        assert value == pytest.approx(0.4 if value > 0.35 else 0.3)
        assert np.isnan(ends).all()


def test_equal_cells_give_equal_intervals() -> None:
    rows = cells([[0.1, 0.5, 0.3], [0.9, 0.8, 0.2]])
    assert interquartile_mean(rows) == interquartile_mean(rows)
    assert mean(rows) == mean(rows)


@pytest.mark.parametrize(("strata", "size"), [(1, 4), (3, 5), (7, 3), (2, 1)])
def test_interquartile_mean_is_the_trimmed_mean_of_all_scores(
    strata: int, size: int, random: np.random.Generator
) -> None:
    scores = random.random((strata, size))
    middle, (low, high) = interquartile_mean(cells(scores.tolist()))
    assert middle == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)
    assert math.isnan(low) if size == 1 else 0 <= low <= middle <= high <= 1


def test_the_interval_of_an_interquartile_mean_ignores_a_few_that_differ() -> None:
    """Ten of 200 scores are 0: the middle half is 1 in every draw."""
    assert interquartile_mean(cells([[0.0] + [1.0] * 19] * 10))[1] == pytest.approx((1.0, 1.0))


def test_probability_of_improvement_is_counted_pair_by_pair(random: np.random.Generator) -> None:
    ours, theirs = random.integers(0, 4, (5, 3)).tolist(), random.integers(0, 4, (5, 4)).tolist()
    shares = []
    for x, y in zip(ours, theirs, strict=True):
        wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y))
        shares.append(wins / 12)
        assert wins == stats.mannwhitneyu(x, y).statistic
    share, (low, high) = improvement(cells(ours), cells(theirs))
    assert share == pytest.approx(np.mean(shares), abs=1e-12)
    assert 0 <= low <= share <= high <= 1


def test_probability_of_improvement_skips_what_only_one_was_run_on() -> None:
    value, (low, high) = improvement(cells([[0.9, 0.8, 0.7], []]), cells([[0.1, 0.2, 0.3], [1.0, 1.0, 1.0]]))
    assert (value, high) == pytest.approx((1.0, 1.0))
    assert 0 < low < 0.5
    assert math.isnan(improvement(cells([[0.9]]), cells([[]]))[0])


def test_improvement_does_not_see_how_far() -> None:
    theirs = cells([[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]])
    near = improvement(cells([[0.51, 0.52, 0.4], [0.3, 0.6, 0.5]]), theirs)
    far = improvement(cells([[51, 520, 0.4], [0.003, 0.6, 0.5]]), theirs)
    assert near == far


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_fewer_than_three_seeds_have_no_interval(bounds: Interval | None) -> None:
    two, three = [Sample([0.2, 0.4], bounds)], [Sample([0.2, 0.4, 0.3], bounds)]
    for ends in (difference(two, three)[1], mean(two)[1], ratio(three, two)[1], intervals(two)[0]):
        assert math.isnan(ends[0])
    assert not math.isnan(difference(three, three)[1][0])


def test_wins_by_sorting_are_those_of_a_table_of_all_pairs() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.integers(0, 5, 9) / 4, random.integers(0, 5, 7) / 4
    own_NR, other_NR = random.random((9, 3)), random.random((7, 3))
    table = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    wins = statistics._Wins(ours.tolist(), theirs.tolist())
    assert wins.share == pytest.approx(table.mean(), abs=1e-15)
    expected = [own @ table @ other for own, other in zip(own_NR.T, other_NR.T, strict=True)]
    sums_NR = statistics.SeedShares().sums(0, Sample(theirs.tolist()), other_NR)
    np.testing.assert_allclose(wins.drawn(own_NR, sums_NR), expected, rtol=1e-13)


def test_blocks_of_cells_change_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [statistics.Sample([0.1 * index, 0.5, 0.7]) for index in range(1, 6)]
    at_once = statistics.intervals(samples)
    monkeypatch.setattr(statistics, "BLOCK_CELLS", 2)
    np.testing.assert_allclose(statistics.intervals(samples), at_once, rtol=1e-13)


def test_intervals_that_are_asked_for_one_by_one_are_those_of_all_cells_at_once(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [3, 5, 3, 1, 5, 3, 4, 5, 3]
    samples = [Sample(random.random(size).tolist()) for size in sizes]
    samples += [Sample([1.0, 0.0, 1.0]), Sample([2.0, 3.0, 7.0], None), Sample([0.2, 0.5, 1.0], (0.2, 1.0))]
    monkeypatch.setattr(statistics, "BLOCK_CELLS", 2)
    at_once = intervals(samples)
    drawn: list[int] = []
    blocks = statistics._drawn_intervals

    def counted(cells: list[Sample], *rest: Any) -> list[Interval]:
        drawn.append(len(cells))
        return blocks(cells, *rest)

    monkeypatch.setattr(statistics, "_drawn_intervals", counted)
    lazy = statistics.LazyIntervals(samples)
    for index in reversed(range(len(samples))):
        np.testing.assert_array_equal(lazy[index], at_once[index])
    assert len(drawn) == 3 + 2 + 1
    alone = statistics.LazyIntervals(samples)
    assert alone[5] == at_once[5]
    assert len(drawn) == 6 + 1
    np.testing.assert_allclose([at_once[i] for i in (0, 10)], [intervals([samples[i]])[0] for i in (0, 10)], rtol=1e-12)


@pytest.mark.parametrize("most", [2**24, 0])
def test_variants_that_share_the_weights_of_their_seeds_have_the_intervals_of_each_alone(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(statistics, "MOST_SHARES", most)
    seeds = [(0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (2, 3, 9)]

    def variant(own: list[tuple[int, ...]]) -> list[Sample]:
        return [Sample((random.integers(0, 6, len(one)) / 5).tolist(), (0.0, 1.0), one) for one in own]

    variants = [variant(seeds), variant(seeds), variant([*seeds[:2], (2, 3, 4)]), variant(seeds), variant(seeds[::-1])]
    variants.append(variant(seeds))
    middle, better = statistics.SeedShares(), statistics.SeedShares()
    for own in variants:
        assert interquartile_mean(own, 300, middle) == interquartile_mean(own, 300)
        assert improvement(own, variants[0], 300, better) == improvement(own, variants[0], 300)
        assert improvement(own, variants[1], 300, better) == improvement(own, variants[1], 300)
        assert improvement(own[:2], variants[0][:2], 200, better) == improvement(own[:2], variants[0][:2], 200)


def test_seeds_of_equal_scores_count_one_by_one() -> None:
    """Scores that differ by nothing that is seen are not taken together; the ends are the same."""
    equal = [statistics.Sample([0.2, 0.5, 0.5, 0.5, 0.9]), statistics.Sample([0.5, 0.5, 0.2, 0.7, 0.7])]
    apart = [one._replace(values=[value + 1e-13 * index for index, value in enumerate(one.values)]) for one in equal]
    (value, ends), (other, other_ends) = map(statistics.interquartile_mean, (equal, apart))
    np.testing.assert_allclose([value, *ends], [other, *other_ends], atol=1e-11)


@pytest.mark.parametrize(
    ("rows", "numbers", "draws"),
    [(500, 50_000, None), (1000, 0, 500), (5000, 0, 200), (10, 200_000, 250), (10, 10**7, 200)],
)
def test_a_row_of_many_is_drawn_less_often(rows: int, numbers: int, draws: int | None) -> None:
    assert statistics.draws_per_row(rows, numbers) == draws
