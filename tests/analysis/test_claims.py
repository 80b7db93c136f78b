from __future__ import annotations

from typing import Any

import pytest

from attnlab.analysis._observations import observations
from attnlab.analysis.claims import ClaimOutcome, check_claim, check_claims, strata
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.records import Record
from tests.rendering.fake_runs import run, seeds

BETTER: dict[str, Any] = {"of": {"attention": "expressive"}, "than": {"attention": "softmax"}}


def outcome_of(records: list[Record], tuned: tuple[str, ...] = (), **claim: Any) -> ClaimOutcome:
    return check_claims([Claim(says="so", **claim)], records, tuned)[0]


def both(ours: list[float], theirs: list[float], **fields: Any) -> list[Record]:
    return seeds(ours, attention="expressive", **fields) + seeds(theirs, attention="softmax", **fields)


HIGH, LOW, WIDE = [0.9, 0.91, 0.92], [0.5, 0.51, 0.52], [0.2, 0.6, 0.99]


@pytest.mark.parametrize(
    ("ours", "theirs", "expect", "bound", "outcome"),
    [
        (HIGH, LOW, "greater", None, "holds"),
        (LOW, HIGH, "greater", None, "fails"),
        (WIDE, LOW, "greater", None, "undecided"),
        (HIGH, LOW, "greater", 0.3, "holds"),
        (HIGH, LOW, "greater", 0.5, "fails"),
        (HIGH, LOW, "greater", 0.4, "undecided"),
        (LOW, HIGH, "less", None, "holds"),
        (HIGH, LOW, "less", None, "fails"),
        (WIDE, LOW, "less", None, "undecided"),
        (LOW, HIGH, "less", -0.3, "holds"),
        (HIGH, HIGH, "at least", -0.05, "holds"),
        (LOW, HIGH, "at least", None, "fails"),
        (HIGH, HIGH, "at least", None, "undecided"),
        ([0.5] * 3, [0.5] * 3, "at least", None, "holds"),
        ([0.5] * 3, [0.5] * 3, "greater", None, "fails"),
        ([0.5] * 3, [0.5] * 3, "at most", None, "holds"),
        (LOW, HIGH, "at most", None, "holds"),
        (HIGH, LOW, "at most", None, "fails"),
        ([0.5, 0.5, 0.51], [0.5, 0.51, 0.5], "equal", None, "holds"),
        (HIGH, LOW, "equal", None, "fails"),
        (HIGH, [0.9, 0.95, 0.92], "equal", None, "undecided"),
        (HIGH, [0.9, 0.95, 0.92], "equal", 0.1, "holds"),
    ],
)
def test_a_difference(ours: list[float], theirs: list[float], expect: str, bound: float | None, outcome: str) -> None:
    result = outcome_of(both(ours, theirs), **BETTER, expect=expect, bound=bound)
    assert result.outcome == outcome
    assert result.estimate == pytest.approx(sum(ours) / 3 - sum(theirs) / 3)
    assert result.interval[0] <= result.estimate <= result.interval[1]


@pytest.mark.parametrize(
    ("expect", "bound", "outcome"),
    [("greater", 0.85, "holds"), ("at least", 0.95, "fails"), ("at most", 0.91, "undecided"), ("equal", 0.91, "holds")],
)
def test_a_number(expect: str, bound: float, outcome: str) -> None:
    assert outcome_of(seeds(HIGH), of={"attention": "softmax"}, expect=expect, bound=bound).outcome == outcome


@pytest.mark.parametrize(
    ("expect", "bound", "outcome"),
    [("greater", 1.5, "holds"), ("greater", 2.0, "fails"), ("equal", None, "fails"), ("less", None, "fails")],
)
def test_a_ratio(expect: str, bound: float | None, outcome: str) -> None:
    result = outcome_of(both(HIGH, LOW), **BETTER, expect=expect, bound=bound, ratio=True)
    assert result.outcome == outcome
    assert result.estimate == pytest.approx(0.91 / 0.51)
    assert result.evidence.startswith("ratio of accuracy 1.784 [")


def test_the_evidence_has_the_estimate_and_the_claimed_range() -> None:
    outcome = outcome_of(both(HIGH, LOW), **BETTER, expect="at least", bound=0.1)
    assert outcome.evidence.startswith("difference of accuracy 0.4 [0.38")
    assert outcome.evidence.endswith("], claimed: at least 0.1")
    assert outcome_of(both(HIGH, LOW), **BETTER, expect="less").evidence.endswith("], claimed: below 0")
    assert outcome_of(both(HIGH, LOW), **BETTER, expect="equal").evidence.endswith("], claimed: -0.02 to 0.02")


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
        "difference of accuracy 0.8; 2 of the 3 seeds that are needed",
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


def test_a_claim_that_compares_with_nothing_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="compares with nothing"):
        outcome_of(seeds(HIGH), of={}, expect="greater")


@pytest.mark.parametrize("claim", [{"of": {"atention": "softmax"}}, {"of": {}, "metric": "acuracy"}])
def test_unknown_fields_and_metrics_are_refused(claim: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean") as caught:
        outcome_of(seeds(HIGH), **claim, expect="greater", bound=0.1)
    assert caught.value.where == "claims"


def test_runs_trained_on_the_level_are_taken_unless_trained_is_named() -> None:
    observed = observations([run(pairs=4, accuracy=0.9, other_levels={8: 0.6}), run(pairs=8, accuracy=0.8)])
    assert list(strata(observed, {"level": 8}, "accuracy").values()) == [[0.8]]
    assert list(strata(observed, {"level": 8, "trained": 4}, "accuracy").values()) == [[0.6]]


def test_subtasks_are_taken_only_where_they_are_named() -> None:
    observed = observations([run(accuracy=0.9, subtasks={"copy": 0.6})])
    assert list(strata(observed, {}, "accuracy").values()) == [[0.9]]
    assert list(strata(observed, {"subtask": "copy"}, "accuracy").values()) == [[0.6]]


def test_failed_runs_are_left_out_and_diverged_ones_count() -> None:
    records = [run(seed=0, accuracy=0.9), run(seed=1, status="failed"), run(seed=2, accuracy=0.3, status="diverged")]
    assert list(strata(observations(records), {}, "accuracy").values()) == [[0.9, 0.3]]


def test_a_part_may_be_written_as_a_mapping() -> None:
    record = run()
    dape = record.spec.model.attention[0].model_copy(update={"name": "dape", "options": {"kernel": 3}})
    model = record.spec.model.model_copy(update={"attention": (dape,)})
    changed = record.model_copy(update={"spec": record.spec.model_copy(update={"model": model})})
    for part in ("dape:kernel=3", {"name": "dape", "kernel": 3}):
        assert strata(observations([changed]), {"attention": part}, "accuracy")


def test_a_difference_of_equal_variants_is_claimed_about_once_in_twenty() -> None:
    """The rate that the module states for three seeds: both wrong outcomes together are twice as frequent."""
    import numpy as np

    random, wrong = np.random.default_rng(0), 0
    claim = Claim(says="so", of={"attention": "a"}, than={"attention": "b"}, expect="greater")
    for _ in range(300):
        draws = random.uniform(0.3, 0.9, (2, 3)).tolist()
        records = seeds(draws[0], attention="a") + seeds(draws[1], attention="b")
        wrong += check_claim(claim, observations(records)).outcome == "holds"
    assert 0.02 < wrong / 300 < 0.09
