from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from attnlab.analysis.claims import ClaimOutcome, check_claims
from attnlab.analysis.planned_levels import Plan, planned_levels
from attnlab.analysis.slope_checks import check_slope, check_slope_form
from attnlab.analysis.slopes import median, seed_slopes
from attnlab.analysis.statistics import Sample
from attnlab.config.experiment import Claim, Experiment, LadderLevels
from attnlab.errors import InvalidValueError
from attnlab.records import Record
from tests.rendering.fake_runs import run, seeds

LEVELS = (2, 4, 8, 16)


def samples(numbers_NL: Any, seed_list: list[int] | None = None) -> list[Sample]:
    numbers_LN = np.transpose(numbers_NL)
    return [Sample(list(row), seeds=seed_list or [*range(len(row))]) for row in numbers_LN]


def test_slopes_are_those_of_polyfit() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((7, 4)), rng.random((7, 4))
    expected = np.polyfit(np.arange(4), (ours - theirs).T, 1)[0]
    assert seed_slopes(samples(ours), samples(theirs)).values == pytest.approx(expected.tolist())
    assert seed_slopes(samples(ours)).values == pytest.approx(np.polyfit(np.arange(4), ours.T, 1)[0].tolist())


def test_only_seeds_of_both_sides_count() -> None:
    ours, theirs = samples([[0.1, 0.2, 0.3, 0.4]] * 3, [0, 1, 2]), samples([[0.0] * 4] * 3, [2, 3, 4])
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


def slope_claim(**claim: Any) -> Claim:
    sides = {"of": {"attention": "expressive"}, "than": {"attention": "softmax"}, "expect": "greater", "slope": True}
    return Claim(**{"says": "so", **sides, **claim})


def outcome_of(records: list[Record], plan: Plan = (), **claim: Any) -> ClaimOutcome:
    return check_claims([slope_claim(**claim)], records, plan=plan)[0]


def plan_of(*levels: int) -> Plan:
    """The levels of the ladder of recall, as an experiment trains them."""
    ladders = (LadderLevels(ladder="recall", levels=levels),)
    return planned_levels(Experiment(name="x", question="?", ladders=ladders))


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
        "median slope over levels of the difference of accuracy in % 10.0 [10.0, 10.0] (levels 2, 4, 8, 16; 6 seeds), "
        "claimed: above 0.0"
    )
    assert found.interval == pytest.approx((0.1, 0.1))


def test_the_evidence_tells_of_seeds_that_lack_a_level() -> None:
    lacking = seeds([0.9] * 8, attention="expressive", pairs=4)[6:]
    assert (
        "(levels 2, 4, 8, 16; 6 seeds; 2 more without a number on every level)"
        in outcome_of(runs([GROWS] * 6) + lacking).evidence
    )


def test_no_seed_on_every_level() -> None:
    records = [run(pairs=4, seed=0), run(pairs=8, seed=1)]
    found = outcome_of(records, of={"attention": "softmax"}, than={}, bound=0.0)
    assert (found.outcome, found.evidence) == ("undecided", "no seed has been run on every level (4, 8) yet")


@pytest.mark.parametrize(
    ("level", "of", "evidence"),
    [
        ([2], {}, "run on one level so far (2), not yet on 4, 8, 16"),
        ([16, 2], {}, "run on 2 levels so far (2, 16), not yet on 4, 8"),
        ([2], {"level": [2, 8]}, "run on one level so far (2), not yet on 8"),
    ],
)
def test_a_slope_waits_for_the_levels_of_the_plan(level: list[int], of: dict[str, Any], evidence: str) -> None:
    records = [record for record in runs([GROWS] * 6) if record.spec.task.level in level]
    found = outcome_of(records, plan_of(*LEVELS), of={"attention": "expressive", **of})
    assert (found.outcome, found.evidence) == ("undecided", evidence)


def test_a_slope_on_all_levels_of_the_plan_is_decided() -> None:
    assert outcome_of(runs([GROWS] * 6), plan_of(*LEVELS)).outcome == "holds"
    named = {"attention": "expressive", "level": [2, 4, 8, 16]}
    assert outcome_of(runs([GROWS] * 6), plan_of(*LEVELS, 32), of=named).outcome == "holds"


def test_one_level_is_undecided_where_no_plan_is_known() -> None:
    found = outcome_of([record for record in runs([GROWS] * 6) if record.spec.task.level == 2])
    assert (found.outcome, found.evidence) == ("undecided", "run on one level so far (2)")


def test_several_tasks_are_undecided() -> None:
    records = [
        one for task in ("recall", "copy") for pairs in (2, 4) for one in seeds([0.5] * 6, task=task, pairs=pairs)
    ]
    found = outcome_of(records, of={"attention": "softmax"}, than={}, bound=0.0)
    assert (found.outcome, found.evidence) == ("undecided", "these runs are of several tasks, and a slope is over one")


def test_levels_are_taken_in_the_order_of_the_ladder(tmp_path: Path) -> None:
    """They fall from 30 % by 10 points a level; by size or by the alphabet they would rise."""
    for levels in ([128, 32, 16], ["zeros", "random", "distinct"]):
        complexity = "vocabulary" if levels[0] == 128 else "filler"
        path = tmp_path / f"{complexity}.yaml"
        text = f"name: {complexity}\nsummary: S.\ntask: recall\ncomplexity: {complexity}\nlevels: {levels}\n"
        path.write_text(text + f"default: {levels[0]}\nsource: ours\n")
        plan = planned_levels(Experiment(name="x", question="?", ladders=(LadderLevels(ladder=str(path)),)))
        records = [
            one
            for level, accuracy in zip(levels, (0.3, 0.2, 0.1), strict=True)
            for one in seeds([accuracy] * 6, pairs=level)
        ]
        found = outcome_of(records[::-1], plan, of={"attention": "softmax"}, than={}, expect="less", bound=0.0)
        assert found.outcome == "holds"
        assert found.estimate == pytest.approx(-0.1)
        assert f"levels {', '.join(map(str, levels))}" in found.evidence


def test_many_levels_are_not_all_listed() -> None:
    records = [run(pairs=level, seed=seed) for level in range(13) for seed in range(6)]
    found = outcome_of(records, of={"attention": "softmax"}, than={}, bound=0.0)
    assert "(levels 0 to 12, 13 in all; 6 seeds)" in found.evidence


def test_five_seeds_are_told_that_six_are_needed() -> None:
    assert "5 of the 6 seeds that are needed" in outcome_of(runs([GROWS] * 5)).evidence


def test_an_undecided_slope_tells_how_many_seeds_would_decide() -> None:
    assert "seeds like these" in outcome_of(runs([GROWS] * 6 + [SHRINKS])).evidence


def test_a_slope_against_a_number() -> None:
    found = outcome_of(runs([GROWS] * 8), of={"attention": "softmax"}, than={}, expect="at most", bound=0.01)
    assert (found.outcome, found.estimate) == ("holds", 0.0)


@pytest.mark.parametrize(
    ("claim", "problem", "hint"),
    [
        ({"ratio": True}, "a slope is of a metric or of a difference, not of a ratio", "Leave out ratio"),
        (
            {"than": {"attention": "softmax", "level": 2}},
            "a slope is of differences on the same levels, and than names another level",
            "Move level from than into of",
        ),
        ({"of": {"attention": "expressive", "level": 2}}, "of one: 2.", "List several: level: [2, 4, 8, 16]."),
        ({"of": {"attention": "softmax", "level": [2, 32]}}, "no run is on level '32'.", "are run: 2, 4, 8, 16."),
        ({"of": {"attention": "softmax", "level": 32}}, "no run is on level '32'.", "are run: 2, 4, 8, 16."),
    ],
)
def test_what_has_no_slope_is_refused_in_a_plan(claim: dict[str, Any], problem: str, hint: str) -> None:
    with pytest.raises(InvalidValueError, match="'so'") as caught:
        check_plan(runs([GROWS] * 6), **claim)
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    assert caught.value.where == "claims.0"


def check_plan(records: list[Record], **claim: Any) -> None:
    asked = slope_claim(**claim)
    check_slope_form(asked, "claims.0")
    check_slope(asked, records, (), "claims.0")


def test_a_plan_of_one_level_or_several_tasks_has_no_slope() -> None:
    with pytest.raises(InvalidValueError) as one:
        check_plan(seeds([0.5]), of={"attention": "softmax"}, than={}, bound=0.0)
    assert one.value.hint == "Let the ladder of the sweep have more levels."
    with pytest.raises(InvalidValueError, match="over the levels of one task, and these runs are of 2") as several:
        check_plan([run(task=task) for task in ("recall", "copy")], of={"attention": "softmax"}, than={}, bound=0.0)
    assert several.value.hint == "Name one in of: task: recall."
    check_plan(runs([GROWS] * 6))
    check_plan(seeds([0.5]), of={}, than={}, bound=0.0, slope=False)
