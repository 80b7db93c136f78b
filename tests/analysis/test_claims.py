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


def said(records: list[Record], tuned: tuple[str, ...] = (), **claim: Any) -> ClaimOutcome:
    return check_claims([Claim(says="so", **claim)], records, tuned)[0]


def two(ours: list[float], theirs: list[float], **what: Any) -> list[Record]:
    return seeds(ours, attention="expressive", **what) + seeds(theirs, attention="softmax", **what)


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
    found = said(two(ours, theirs), **BETTER, expect=expect, bound=bound)
    assert found.outcome == outcome
    assert found.figure == pytest.approx(sum(ours) / 3 - sum(theirs) / 3)
    assert found.interval[0] <= found.figure <= found.interval[1]


@pytest.mark.parametrize(
    ("expect", "bound", "outcome"),
    [("greater", 0.85, "holds"), ("at least", 0.95, "fails"), ("at most", 0.91, "undecided"), ("equal", 0.91, "holds")],
)
def test_a_number(expect: str, bound: float, outcome: str) -> None:
    assert said(seeds(HIGH), of={"attention": "softmax"}, expect=expect, bound=bound).outcome == outcome


@pytest.mark.parametrize(
    ("expect", "bound", "outcome"),
    [("greater", 1.5, "holds"), ("greater", 2.0, "fails"), ("equal", None, "fails"), ("less", None, "fails")],
)
def test_a_ratio(expect: str, bound: float | None, outcome: str) -> None:
    found = said(two(HIGH, LOW), **BETTER, expect=expect, bound=bound, ratio=True)
    assert found.outcome == outcome
    assert found.figure == pytest.approx(0.91 / 0.51)
    assert found.evidence.startswith("ratio of accuracy 1.784 [")


def test_the_evidence_says_what_was_found_and_asked() -> None:
    outcome = said(two(HIGH, LOW), **BETTER, expect="at least", bound=0.1)
    assert outcome.evidence.startswith("difference of accuracy 0.4 [0.38")
    assert outcome.evidence.endswith("], asked: at least 0.1")
    assert said(two(HIGH, LOW), **BETTER, expect="less").evidence.endswith("], asked: below 0")
    assert said(two(HIGH, LOW), **BETTER, expect="equal").evidence.endswith("], asked: -0.02 to 0.02")


def test_a_list_of_rungs_is_their_mean() -> None:
    records = [*two(HIGH, LOW, pairs=4), *two(LOW, LOW, pairs=8), *two(LOW, HIGH, pairs=16)]
    outcome = said(records, of={"attention": "expressive", "complexity": [4, 8]}, than=BETTER["than"], expect="greater")
    assert outcome.outcome == "holds"
    assert outcome.figure == pytest.approx(0.2)
    assert said(records, **BETTER, expect="greater").figure == pytest.approx(0.0)


def test_rungs_may_be_compared_with_one_another() -> None:
    records = [*seeds(HIGH, pairs=4), *seeds(LOW, pairs=8)]
    assert said(records, of={"complexity": 4}, than={"complexity": 8}, expect="greater").outcome == "holds"


def test_two_seeds_decide_nothing() -> None:
    outcome = said(two([0.9, 0.9], [0.1, 0.1]), **BETTER, expect="greater")
    assert (outcome.outcome, outcome.evidence) == (
        "undecided",
        "difference of accuracy 0.8; 2 of the 3 seeds that it takes",
    )


def test_what_was_not_run_is_undecided() -> None:
    assert said(seeds(HIGH), **BETTER, expect="greater").evidence == "no finished run is of this kind yet"
    part = [*two(HIGH, LOW, pairs=4), *seeds(HIGH, attention="expressive", pairs=8)]
    outcome = said(part, **BETTER, expect="greater")
    assert (outcome.outcome, outcome.evidence) == (
        "undecided",
        "the two sides have not been run on the same levels yet",
    )
    assert said([], **BETTER, expect="greater").outcome == "undecided"


def test_a_tuned_value_is_chosen_on_the_validation_stream() -> None:
    records = []
    for lr, validation, accuracy in ((1e-3, 0.9, 0.4), (3e-3, 0.2, 0.99)):
        records += [run(seed=seed, lr=lr, validation=validation, accuracy=accuracy) for seed in range(3)]
    assert said(records, ("train.lr",), of={}, expect="at most", bound=0.5).figure == pytest.approx(0.4)
    assert said(records, ("train.lr",), of={"lr": 3e-3}, expect="at most", bound=0.5).figure == pytest.approx(0.99)


def test_more_than_one_variant_is_refused() -> None:
    records = [*seeds(HIGH, width=32), *seeds(HIGH, width=64)]
    with pytest.raises(InvalidValueError, match="is more than one variant"):
        said(records, of={"attention": "softmax"}, expect="greater", bound=0.1)
    assert said(records, of={"model.width": 32}, expect="greater", bound=0.1).outcome == "holds"


def test_a_claim_that_compares_with_nothing_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="compares with nothing"):
        said(seeds(HIGH), of={}, expect="greater")


@pytest.mark.parametrize("claim", [{"of": {"atention": "softmax"}}, {"of": {}, "value": "acuracy"}])
def test_unknown_fields_and_values_are_refused(claim: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean") as caught:
        said(seeds(HIGH), **claim, expect="greater", bound=0.1)
    assert caught.value.where == "claims"


def test_runs_that_were_trained_there_are_meant_unless_said_otherwise() -> None:
    seen = observations([run(pairs=4, accuracy=0.9, elsewhere={8: 0.6}), run(pairs=8, accuracy=0.8)])
    assert list(strata(seen, {"complexity": 8}, "accuracy").values()) == [[0.8]]
    assert list(strata(seen, {"complexity": 8, "trained": 4}, "accuracy").values()) == [[0.6]]


def test_members_are_meant_only_by_name() -> None:
    seen = observations([run(accuracy=0.9, members={"copy": 0.6})])
    assert list(strata(seen, {}, "accuracy").values()) == [[0.9]]
    assert list(strata(seen, {"member": "copy"}, "accuracy").values()) == [[0.6]]


def test_failed_runs_are_no_evidence_and_diverged_ones_are() -> None:
    records = [run(seed=0, accuracy=0.9), run(seed=1, status="failed"), run(seed=2, accuracy=0.3, status="diverged")]
    assert list(strata(observations(records), {}, "accuracy").values()) == [[0.9, 0.3]]


def test_a_part_may_be_written_as_a_mapping() -> None:
    record = run()
    part = record.spec.model.attention[0].model_copy(update={"name": "dape", "options": {"kernel": 3}})
    model = record.spec.model.model_copy(update={"attention": (part,)})
    changed = record.model_copy(update={"spec": record.spec.model_copy(update={"model": model})})
    for meant in ("dape:kernel=3", {"name": "dape", "kernel": 3}):
        assert strata(observations([changed]), {"attention": meant}, "accuracy")


def test_alike_variants_are_told_apart_about_once_in_twenty() -> None:
    """What the module promises of three seeds: both outcomes wrong together are twice that."""
    import numpy as np

    random, wrong = np.random.default_rng(0), 0
    claim = Claim(says="so", of={"attention": "a"}, than={"attention": "b"}, expect="greater")
    for _ in range(300):
        draws = random.uniform(0.3, 0.9, (2, 3)).tolist()
        records = seeds(draws[0], attention="a") + seeds(draws[1], attention="b")
        wrong += check_claim(claim, observations(records)).outcome == "holds"
    assert 0.02 < wrong / 300 < 0.09
