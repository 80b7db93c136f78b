from __future__ import annotations

import math
from typing import Any

import pytest

from attnlab.analysis import claims
from attnlab.analysis._observations import Observation, observations
from attnlab.analysis.claims import ClaimOutcome, check_claims, judge_claims
from attnlab.analysis.planned_levels import Plan, planned_levels
from attnlab.analysis.strata import strata
from attnlab.config.experiment import Claim, Experiment
from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.records import Record
from tests.rendering.fake_runs import CHANCE, run, seeds

BETTER: dict[str, Any] = {"of": {"attention": "expressive"}, "than": {"attention": "softmax"}}


def outcome_of(records: list[Record], tuned: tuple[str, ...] = (), **claim: Any) -> ClaimOutcome:
    return check_claims([Claim(says="so", **claim)], records, tuned)[0]


def plan_of(*ladders: dict[str, Any]) -> Plan:
    return planned_levels(Experiment.model_validate({"name": "x", "question": "?", "ladders": ladders}))


def both(ours: list[float], theirs: list[float], **fields: Any) -> list[Record]:
    return seeds(ours, attention="expressive", **fields) + seeds(theirs, attention="softmax", **fields)


def numbers(observed: list[Observation], wanted: dict[str, Any]) -> list[list[float]]:
    return [list(sample.values) for sample in strata(observed, wanted, "accuracy").values()]


HIGH, LOW, WIDE = [0.9, 0.91, 0.92] * 4, [0.5, 0.51, 0.52] * 4, [0.2, 0.6, 0.99] * 4
SAME = [0.5] * 12


@pytest.mark.parametrize(
    ("ours", "theirs", "expect", "bound", "outcome"),
    [
        (HIGH, LOW, "greater", None, "holds"),
        (LOW, HIGH, "greater", None, "fails"),
        (WIDE, LOW, "greater", None, "undecided"),
        (HIGH, LOW, "greater", 0.1, "holds"),
        (HIGH, LOW, "greater", 0.6, "fails"),
        (HIGH, LOW, "greater", 0.4, "undecided"),
        (LOW, HIGH, "less", None, "holds"),
        (HIGH, LOW, "less", None, "fails"),
        (WIDE, LOW, "less", None, "undecided"),
        (LOW, HIGH, "less", -0.1, "holds"),
        (HIGH, HIGH, "at least", -0.3, "holds"),
        (LOW, HIGH, "at least", None, "fails"),
        (HIGH, HIGH, "at least", None, "undecided"),
        (SAME, SAME, "at least", None, "undecided"),
        (SAME, SAME, "greater", None, "undecided"),
        (SAME, SAME, "at most", None, "undecided"),
        (LOW, HIGH, "at most", None, "holds"),
        (HIGH, LOW, "at most", None, "fails"),
        (SAME, SAME, "equal", None, "undecided"),
        (HIGH, LOW, "equal", None, "fails"),
        (HIGH, HIGH, "equal", None, "undecided"),
        (HIGH, HIGH, "equal", 0.3, "holds"),
        (HIGH[:5], LOW[:5], "greater", None, "undecided"),
        ([1.0] * 5, [CHANCE] * 5, "greater", None, "holds"),
        ([1.0] * 3, [CHANCE] * 3, "greater", None, "undecided"),
    ],
)
def test_a_difference(ours: list[float], theirs: list[float], expect: str, bound: float | None, outcome: str) -> None:
    result = outcome_of(both(ours, theirs), **BETTER, expect=expect, bound=bound)
    assert result.outcome == outcome
    assert result.estimate == pytest.approx(sum(ours) / len(ours) - sum(theirs) / len(theirs))
    assert result.interval[0] <= result.estimate <= result.interval[1]


@pytest.mark.parametrize(
    ("expect", "bound", "outcome"),
    [
        ("greater", 0.6, "holds"),
        ("at least", 0.99, "fails"),
        ("at most", 0.91, "undecided"),
        ("equal", 0.91, "undecided"),
    ],
)
def test_a_number(expect: str, bound: float, outcome: str) -> None:
    assert outcome_of(seeds(HIGH), of={"attention": "softmax"}, expect=expect, bound=bound).outcome == outcome


@pytest.mark.parametrize(("solved", "outcome"), [(3, "undecided"), (10, "undecided"), (35, "holds")])
def test_at_least_nine_tenths_takes_many_runs_that_all_solve(solved: int, outcome: str) -> None:
    """Three runs of three are solved half of the time where the true mean is 0.84."""
    result = outcome_of(seeds([1.0] * solved), of={}, expect="at least", bound=0.9)
    assert result.outcome == outcome
    assert (f"too few seeds ({solved}) for it to hold" in result.evidence) == (outcome == "undecided")


def test_the_evidence_says_how_many_seeds_like_these_would_decide() -> None:
    sides = both([0.9, 0.8, 0.7], [0.5, 0.6, 0.7])
    assert outcome_of(sides, **BETTER, expect="greater").evidence.endswith("; with about 15 seeds like these it holds")
    assert outcome_of(sides, **BETTER, expect="less").evidence.endswith("; with about 15 seeds like these it fails")
    alike = outcome_of(both([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), **BETTER, expect="greater")
    assert alike.evidence.endswith("; 1,000 seeds like these would not decide it")
    decided = outcome_of(both(HIGH, LOW), **BETTER, expect="greater")
    assert "seeds like these" not in decided.evidence


@pytest.mark.parametrize(("expect", "hopeless"), [("greater", True), ("less", True), ("equal", False)])
def test_the_evidence_says_where_no_outcome_of_so_few_seeds_would_hold(expect: str, hopeless: bool) -> None:
    few = outcome_of(both([0.9, 0.8, 0.7], [0.5, 0.6, 0.7]), **BETTER, expect=expect)
    hint = "; too few seeds (3) for it to hold, even with every run at the bound of the metric that favors it"
    assert (hint in few.evidence) is hopeless
    more = outcome_of(both([0.9, 0.8, 0.7] * 2, [0.5, 0.6, 0.7] * 2), **BETTER, expect=expect)
    assert (few.outcome, more.outcome) == ("undecided", "undecided")
    assert "too few" not in more.evidence


@pytest.mark.parametrize(
    ("expect", "bound", "outcome"),
    [("greater", 1.1, "holds"), ("greater", 2.9, "fails"), ("equal", None, "fails"), ("less", None, "fails")],
)
def test_a_ratio(expect: str, bound: float | None, outcome: str) -> None:
    result = outcome_of(both(HIGH, LOW), **BETTER, expect=expect, bound=bound, ratio=True)
    assert result.outcome == outcome
    assert result.estimate == pytest.approx(0.91 / 0.51)
    assert result.evidence.startswith("ratio of accuracy 1.784 [")


@pytest.mark.parametrize("expect", ["greater", "at least", "less", "at most"])
def test_a_ratio_over_zero_is_undecided(expect: str) -> None:
    result = outcome_of(both([1.0] * 5, [0.0] * 5), **BETTER, expect=expect, metric="exact_match", ratio=True)
    assert (result.outcome, result.evidence) == (
        "undecided",
        "ratio of exact_match: the mean of the other runs is 0, so there is no ratio",
    )
    assert math.isnan(result.estimate)


@pytest.mark.parametrize(
    ("expect", "bound", "ratio", "outcome"),
    [
        ("less", None, False, "holds"),
        ("less", -0.5, False, "holds"),
        ("greater", None, False, "fails"),
        ("at most", 0.9, True, "holds"),
        ("equal", 0.65, True, "holds"),
    ],
)
def test_unbounded_metrics_are_decided_by_student(expect: str, bound: float | None, ratio: bool, outcome: str) -> None:
    records = [
        run(attention, seed=seed, loss=loss)
        for attention, losses in (("expressive", (0.4, 0.41, 0.42)), ("softmax", (1.0, 1.02, 1.01)))
        for seed, loss in enumerate(losses)
    ]
    result = outcome_of(records, **BETTER, expect=expect, bound=bound, metric="loss", ratio=ratio)
    assert result.outcome == outcome


def test_rounding_errors_decide_nothing() -> None:
    """The mean of three times 0.9 over three levels is 0.9 but for rounding."""
    records = [run(pairs=pairs, seed=seed, loss=0.9) for pairs in (2, 4, 8) for seed in range(3)]
    for expect, outcome in (("at least", "holds"), ("at most", "holds"), ("greater", "fails"), ("less", "fails")):
        assert outcome_of(records, of={}, expect=expect, bound=0.9, metric="loss").outcome == outcome


def test_a_ratio_over_what_may_be_zero_is_undecided() -> None:
    records = [
        run(attention, seed=seed, diagnostics={"slope": slope})
        for attention, slopes in (("expressive", (4.0, 5.0, 6.0)), ("softmax", (-1.0, 0.5, 2.0)))
        for seed, slope in enumerate(slopes)
    ]
    result = outcome_of(records, **BETTER, expect="greater", metric="slope", ratio=True)
    assert (result.outcome, result.evidence) == (
        "undecided",
        "ratio of slope 10, without an interval; the mean of the other runs may be 0",
    )


def test_the_evidence_has_the_estimate_and_the_claimed_range() -> None:
    outcome = outcome_of(both(HIGH, LOW), **BETTER, expect="at least", bound=0.1)
    assert outcome.evidence.startswith("difference of accuracy in % 40.0 [1")
    assert outcome.evidence.endswith("], claimed: at least 10.0")
    assert outcome_of(both(HIGH, LOW), **BETTER, expect="less").evidence.endswith("], claimed: below 0.0")
    assert outcome_of(both(HIGH, LOW), **BETTER, expect="equal").evidence.endswith("], claimed: -2.0 to 2.0")


def test_a_list_of_levels_is_their_mean() -> None:
    records = [*both(HIGH, LOW, pairs=4), *both(LOW, LOW, pairs=8), *both(LOW, HIGH, pairs=16)]
    outcome = outcome_of(
        records, of={"attention": "expressive", "level": [4, 8]}, than=BETTER["than"], expect="greater"
    )
    assert outcome.outcome == "holds"
    assert outcome.estimate == pytest.approx(0.2)
    assert outcome_of(records, **BETTER, expect="greater").estimate == pytest.approx(0.0)


def test_levels_may_be_compared_with_one_another() -> None:
    records = [*seeds(HIGH, pairs=4), *seeds(LOW, pairs=8)]
    assert outcome_of(records, of={"level": 4}, than={"level": 8}, expect="greater").outcome == "holds"


def test_two_seeds_decide_nothing() -> None:
    outcome = outcome_of(both([0.9, 0.9], [0.1, 0.1]), **BETTER, expect="greater")
    assert (outcome.outcome, outcome.evidence) == (
        "undecided",
        "difference of accuracy in % 80.0; 2 of the 3 seeds that are needed",
    )


def test_a_claim_about_missing_runs_is_undecided() -> None:
    assert outcome_of(seeds(HIGH), **BETTER, expect="greater").evidence == "no finished run matches yet"
    part = [*both(HIGH, LOW, pairs=4), *seeds(HIGH, attention="expressive", pairs=8)]
    outcome = outcome_of(part, **BETTER, expect="greater")
    assert (outcome.outcome, outcome.evidence) == (
        "undecided",
        "the two sides have not been run on the same levels yet",
    )
    assert outcome_of([], **BETTER, expect="greater").outcome == "undecided"


def test_a_claim_about_several_levels_waits_for_those_of_the_plan() -> None:
    """The mean of two levels is not that of one of them."""
    plan = plan_of({"ladder": "recall", "levels": [4, 8]}, {"ladder": "copy", "levels": [2]})
    half = both(HIGH, LOW, pairs=4)

    def judged(records: list[Record], than: dict[str, Any] = BETTER["than"], **of: Any) -> tuple[str, str]:
        claim = Claim(says="so", of={"attention": "expressive", **of}, than=than, expect="greater")
        (found,) = check_claims([claim], records, plan=plan)
        return found.outcome, found.evidence

    assert judged(half) == ("undecided", "run on one level so far (recall 4), not yet on recall 8, copy 2")
    assert judged(half, task="recall") == ("undecided", "run on one level so far (4), not yet on 8")
    assert judged(half, level=4)[0] == "holds"
    assert judged([*half, *both(HIGH, LOW, pairs=8)], task="recall")[0] == "holds"
    one_side = [*half, *seeds(HIGH, attention="expressive", pairs=8)]
    assert judged(one_side, task="recall") == ("undecided", "run on one level so far (4), not yet on 8")
    apart = [*seeds(HIGH, attention="expressive", pairs=8), *seeds(LOW, pairs=4)]
    assert judged(apart, task="recall") == ("undecided", "the two sides have not been run on the same levels yet")
    across = judged(one_side, {"attention": "softmax", "level": [4, 8]}, task="recall", level=8)
    assert across == ("undecided", "run on one level so far (4), not yet on 8")


def test_levels_that_are_missing_are_listed_in_the_order_of_the_plan() -> None:
    records = [*both(HIGH, LOW, pairs=4), *seeds(HIGH, attention="expressive", pairs=2)]
    claim = Claim(says="so", of={"attention": "expressive"}, than=BETTER["than"], expect="greater")
    (found,) = check_claims([claim], records, plan=plan_of({"ladder": "recall", "levels": [2, 4, 8]}))
    assert found.evidence == "run on one level so far (4), not yet on 2, 8"


def test_times_are_not_waited_for_on_levels_that_are_only_tested() -> None:
    plan = plan_of({"ladder": "recall", "levels": [4], "evaluate": [8]})
    records = [run(seed=seed, pairs=4, other_levels={8: 0.5}) for seed in range(6)]
    claim = Claim(says="so", of={}, metric="time_to_solve", expect="at least", bound=0)
    assert check_claims([claim], records, plan=plan)[0].outcome == "holds"


def test_runs_trained_elsewhere_do_not_stand_in_for_planned_ones() -> None:
    plan = plan_of({"ladder": "recall", "levels": [2, 4, 8], "evaluate": [8]})
    records = [run(pairs=pairs, seed=seed, other_levels={8: 0.5}) for pairs in (2, 4) for seed in range(6)]
    claim = Claim(says="so", of={"level": 8}, expect="greater", bound=0.1)
    assert check_claims([claim], records, plan=plan)[0].evidence == "no finished run matches yet"


def test_in_a_report_a_claim_that_cannot_be_checked_leaves_the_others_alone() -> None:
    several, unknown, good = (
        Claim(says="so", of=of, expect="greater", bound=0.1) for of in ({}, {"task.alphabet": 4}, {"width": 32})
    )
    records = [*seeds(HIGH, width=32), *seeds(HIGH, width=64)]
    outcomes = judge_claims([several, unknown, good], records)
    assert [one.outcome for one in outcomes] == ["undecided", "undecided", "holds"]
    assert outcomes[0].evidence == (
        "it cannot be checked on these runs: every run: this matches more than one variant. Name width too: each level "
        "needs one run for each seed."
    )
    assert "There is no field 'task.alphabet'" in outcomes[1].evidence


def test_a_tuned_value_is_chosen_by_validation_accuracy() -> None:
    records = []
    for lr, validation, accuracy in ((1e-3, 0.9, 0.4), (3e-3, 0.2, 0.99)):
        records += [run(seed=seed, lr=lr, validation=validation, accuracy=accuracy) for seed in range(3)]
    assert outcome_of(records, ("train.lr",), of={}, expect="at most", bound=0.5).estimate == pytest.approx(0.4)
    assert outcome_of(records, ("train.lr",), of={"lr": 3e-3}, expect="at most", bound=0.5).estimate == pytest.approx(
        0.99
    )


def test_more_than_one_variant_is_refused() -> None:
    records = [*seeds(HIGH, width=32), *seeds(HIGH, width=64)]
    with pytest.raises(InvalidValueError, match="matches more than one variant"):
        outcome_of(records, of={"attention": "softmax"}, expect="greater", bound=0.1)
    assert outcome_of(records, of={"model.width": 32}, expect="greater", bound=0.1).outcome == "holds"


def test_levels_that_runs_were_trained_on_are_proposed() -> None:
    records = [run(pairs=pairs, other_levels={16: 0.5}) for pairs in (2, 4)]
    with pytest.raises(InvalidValueError) as caught:
        outcome_of(records, of={"attention": "softmax", "level": [2, 16]}, expect="greater", bound=0.1)
    assert caught.value.hint == (
        "Name trained too: each level needs one run for each seed.\n"
        "Or name levels that runs were trained on alone: level: [2, 4]."
    )


def test_a_claim_that_compares_with_nothing_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="compares with nothing"):
        outcome_of(seeds(HIGH), of={}, expect="greater")


@pytest.mark.parametrize("claim", [{"of": {"atention": "softmax"}}, {"of": {}, "metric": "acuracy"}])
def test_unknown_fields_and_metrics_are_refused(claim: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean") as caught:
        outcome_of(seeds(HIGH), **claim, expect="greater", bound=0.1)
    assert caught.value.where == "claims.0"


def test_runs_trained_on_the_level_are_taken_unless_trained_is_named() -> None:
    observed = observations([run(pairs=4, accuracy=0.9, other_levels={8: 0.6}), run(pairs=8, accuracy=0.8)])
    assert numbers(observed, {"level": 8}) == [[0.8]]
    assert numbers(observed, {"level": 8, "trained": 4}) == [[0.6]]


def test_a_range_that_ends_at_the_level_is_training_on_the_level() -> None:
    short, long = run(pairs=4, trained="1..4", accuracy=0.9, other_levels={8: 0.6}), run(pairs=8, trained="1..8")
    assert numbers(observations([short, long]), {"level": 8}) == [[0.5]]
    assert numbers(observations([short, long]), {"level": 8, "trained": "1..4"}) == [[0.6]]
    assert numbers(observations([short, long]), {}) == [[0.9], [0.5]]


def test_subtasks_are_taken_only_where_they_are_named() -> None:
    observed = observations([run(accuracy=0.9, subtasks={"copy": 0.6})])
    assert numbers(observed, {}) == [[0.9]]
    assert numbers(observed, {"subtask": "copy"}) == [[0.6]]


def test_failed_runs_are_left_out_and_diverged_ones_count() -> None:
    records = [run(seed=0, accuracy=0.9), run(seed=1, status="failed"), run(seed=2, accuracy=0.3, status="diverged")]
    assert numbers(observations(records), {}) == [[0.9, 0.3]]
    assert [sample.seeds for sample in strata(observations(records), {}, "accuracy").values()] == [[0, 2]]


def test_a_part_may_be_written_as_a_mapping() -> None:
    record = run()
    dape = record.spec.model.attention[0].model_copy(update={"name": "dape", "options": {"kernel": 3}})
    model = record.spec.model.model_copy(update={"attention": (dape,)})
    changed = record.model_copy(update={"spec": record.spec.model_copy(update={"model": model})})
    for part in ("dape:kernel=3", {"name": "dape", "kernel": 3}):
        assert strata(observations([changed]), {"attention": part}, "accuracy")


@pytest.mark.parametrize(
    ("claim", "ends", "shown"),
    [
        ({"expect": "greater"}, (0.0004, 0.5), ["0.04", "50.0"]),
        ({"expect": "less"}, (-0.5, -0.00002), ["-50.0", "-0.002"]),
        ({"expect": "at least", "bound": 0.5}, (0.1, 0.49996), ["10.0", "49.996"]),
        ({"expect": "at least", "bound": 0.5}, (0.5, 0.7), ["50.0", "70.0"]),
        ({"expect": "greater", "bound": 1.0, "metric": "loss"}, (1.00001, 2.0), ["1.00001", "2"]),
    ],
)
def test_an_end_that_decides_is_never_shown_as_what_is_claimed(
    claim: dict[str, Any], ends: tuple[float, float], shown: list[str]
) -> None:
    made = Claim(says="x", of={"attention": "a"}, than={"attention": "b"}, **claim)
    assert claims.decide(made, ends) != "undecided"
    assert [claims._decided_end(made, end) for end in ends] == shown


def test_evidence_is_in_the_unit_of_the_tables() -> None:
    loss = outcome_of(both(HIGH, LOW), **BETTER, metric="loss", expect="greater", bound=0.5)
    assert loss.evidence.startswith("difference of loss 0 [0, 0]")
    assert loss.evidence.endswith("claimed: above 0.5")
    share = outcome_of(seeds(HIGH), of={"attention": "softmax"}, expect="at least", bound=0.9)
    assert share.evidence.startswith("accuracy in % 91.0 [")
    assert "claimed: at least 90.0" in share.evidence
