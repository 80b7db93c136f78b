from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from attnlab.analysis.claims import ClaimOutcome, check_claims
from attnlab.analysis.slopes import median, seed_slopes
from attnlab.analysis.statistics import Sample
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError
from attnlab.records import Record
from tests.rendering.fake_runs import seeds

LEVELS = (2, 4, 8, 16)


def strata(numbers_NL: Any, seed_list: list[int] | None = None) -> dict[tuple[Any, ...], Sample]:
    numbers_LN = np.transpose(numbers_NL)
    return {
        ("recall", "", "pairs", level): Sample(list(row), seeds=seed_list or [*range(len(row))])
        for level, row in zip(LEVELS, numbers_LN, strict=True)
    }


def test_slopes_are_those_of_polyfit() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((7, 4)), rng.random((7, 4))
    expected = np.polyfit(np.arange(4), (ours - theirs).T, 1)[0]
    assert seed_slopes(strata(ours), strata(theirs)).values == pytest.approx(expected.tolist())
    assert seed_slopes(strata(ours)).values == pytest.approx(np.polyfit(np.arange(4), ours.T, 1)[0].tolist())


def test_levels_are_taken_in_their_order() -> None:
    reversed_strata = dict(reversed(strata([[0.1, 0.2, 0.3, 0.4]]).items()))
    assert seed_slopes(reversed_strata).values == pytest.approx([0.1])


def test_only_seeds_of_both_sides_count() -> None:
    ours, theirs = strata([[0.1, 0.2, 0.3, 0.4]] * 3, [0, 1, 2]), strata([[0.0] * 4] * 3, [2, 3, 4])
    found = seed_slopes(ours, theirs)
    assert found.seed_list == [2]
    assert found.values == pytest.approx([0.1])


@pytest.mark.parametrize("count", [6, 7, 8, 9, 10, 11, 12, 17, 20, 25, 40, 101])
def test_interval_is_that_of_the_quantile_test(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    value, ends = median(Sample(values.tolist(), None))
    outer: Any = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert value == pytest.approx(np.median(values))
    assert ends == pytest.approx((outer.low, outer.high))


@pytest.mark.parametrize("count", range(6))
def test_few_seeds_bound_no_median(count: int) -> None:
    assert median(Sample([0.5] * count, None))[1] == (-math.inf, math.inf)


@pytest.mark.parametrize("count", [6, 9, 10, 15])
def test_a_median_of_zero_is_outside_at_most_as_often_as_stated(count: int) -> None:
    values_RN = np.random.default_rng(1).standard_cauchy((4000, count))
    ends = np.array([median(Sample(row.tolist(), None))[1] for row in values_RN])
    for missed in (ends[:, 0] > 0, ends[:, 1] < 0):
        assert missed.mean() <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 4000)


def runs(leads_NL: Any) -> list[Record]:
    """Runs of expressive attention that are ahead of softmax at a half by the leads."""
    found = []
    for level, leads in zip(LEVELS, np.transpose(leads_NL), strict=True):
        found += seeds([0.5 + lead for lead in leads], attention="expressive", pairs=level)
        found += seeds([0.5] * len(leads), attention="softmax", pairs=level)
    return found


def outcome_of(records: list[Record], **claim: Any) -> ClaimOutcome:
    sides = {"of": {"attention": "expressive"}, "than": {"attention": "softmax"}, "expect": "greater", "slope": True}
    return check_claims([Claim(**{"says": "so", **sides, **claim})], records)[0]


GROWS, SHRINKS = [0.0, 0.1, 0.2, 0.3], [0.3, 0.2, 0.1, 0.0]


@pytest.mark.parametrize(
    ("leads", "outcome"),
    [([GROWS] * 6, "holds"), ([SHRINKS] * 6, "fails"), ([GROWS, SHRINKS] * 5, "undecided"), ([GROWS] * 5, "undecided")],
)
def test_a_lead_that_grows(leads: list[list[float]], outcome: str) -> None:
    assert outcome_of(runs(leads)).outcome == outcome


def test_the_evidence_is_in_points_for_each_level() -> None:
    found = outcome_of(runs([GROWS] * 6))
    assert found.evidence == (
        "median slope over levels of the difference of accuracy in % 10.0 [10.0, 10.0], claimed: above 0.0"
    )
    assert found.interval == pytest.approx((0.1, 0.1))


def test_five_seeds_are_told_that_six_are_needed() -> None:
    assert "5 of the 6 seeds that are needed" in outcome_of(runs([GROWS] * 5)).evidence


def test_an_undecided_slope_tells_how_many_seeds_would_decide() -> None:
    assert "seeds like these" in outcome_of(runs([GROWS] * 6 + [SHRINKS])).evidence


def test_a_slope_against_a_number() -> None:
    found = outcome_of(runs([GROWS] * 8), of={"attention": "softmax"}, than={}, expect="at most", bound=0.01)
    assert (found.outcome, found.estimate) == ("holds", 0.0)


@pytest.mark.parametrize(
    "claim",
    [
        {"ratio": True},
        {"than": {"attention": "softmax", "level": 2}},
        {"of": {"attention": "expressive", "level": 2}},
    ],
)
def test_what_has_no_slope_is_refused(claim: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="slope"):
        outcome_of(runs([GROWS] * 6), **claim)
