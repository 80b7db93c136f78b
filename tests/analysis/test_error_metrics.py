"""The two metrics that papers print in place of the accuracy: the error and the normalized accuracy."""

from __future__ import annotations

import math

import pytest

from attnlab.analysis._observations import metric_bounds, observations
from attnlab.analysis.claims import check_claims
from attnlab.analysis.grids import grids
from attnlab.analysis.levels import share_above_chance
from attnlab.analysis.metric_names import higher_is_better
from attnlab.config.experiment import Claim
from attnlab.records import Record
from tests.rendering.fake_runs import run, score, seeds


def values(records: list[Record], metric: str) -> list[float]:
    return [one.metric(metric) for one in observations(records)]


def with_chance(accuracy: float, chance: float) -> Record:
    return run(accuracy=accuracy).model_copy(update={"accuracy": score(accuracy, chance)})


def test_by_hand() -> None:
    records = seeds([1.0, 0.625, 0.25, 0.1])  # chance is 0.25
    assert values(records, "error") == pytest.approx([0.0, 0.375, 0.75, 0.9])
    assert values(records, "normalized_accuracy") == pytest.approx([1.0, 0.5, 0.0, -0.2])


@pytest.mark.parametrize("chance", [math.nan, 1.0])
def test_without_a_way_from_chance_to_1_there_is_no_normalized_accuracy(chance: float) -> None:
    record = with_chance(0.5, chance)
    assert math.isnan(*values([record], "normalized_accuracy"))
    assert values([record], "error") == [0.5]


def test_each_level_has_its_own_chance() -> None:
    record = run(accuracy=0.5, other_levels={8: 0.4})
    (evaluation,) = record.evaluations
    other = evaluation.model_copy(update={"accuracy": score(0.4, 0.2)})
    assert values([record.model_copy(update={"evaluations": (other,)})], "normalized_accuracy") == pytest.approx(
        [1 / 3, 0.25]
    )


@pytest.mark.parametrize(
    ("accuracies", "error", "normalized"),
    [([0.25, 0.5, 1.0], (0.0, 0.75), (0.0, 1.0)), ([0.1, 0.5, 1.0], (0.0, 1.0), (-1 / 3, 1.0))],
)
def test_bounds(accuracies: list[float], error: tuple[float, float], normalized: tuple[float, float]) -> None:
    observed = observations(seeds(accuracies))
    assert metric_bounds("error", observed) == pytest.approx(error)
    assert metric_bounds("normalized_accuracy", observed) == pytest.approx(normalized)


def test_bounds_where_chance_is_unknown() -> None:
    assert metric_bounds("error", observations([with_chance(0.5, math.nan)])) == (0.0, 1.0)


@pytest.mark.parametrize("accuracies", [[0.25, 0.5, 1.0], [0.1, 0.5, 0.8], [1.0] * 5, [0.25] * 4])
def test_intervals_are_those_of_the_accuracy(accuracies: list[float]) -> None:
    records = seeds(accuracies)
    cells = [next(iter(grids(records, metric=name)[0].cells.values())) for name in ("accuracy", "normalized_accuracy")]
    expected = [share_above_chance(end, 0.25) for end in cells[0].interval]
    assert cells[1].interval == pytest.approx(expected)
    error = next(iter(grids(records, metric="error")[0].cells.values()))
    assert error.mean == pytest.approx(1 - cells[0].mean)
    assert error.interval == pytest.approx([1 - end for end in reversed(cells[0].interval)], abs=0.02)


def test_of_the_error_less_is_better() -> None:
    assert higher_is_better("error", []) is False
    assert higher_is_better("normalized_accuracy", []) is True
    assert higher_is_better("residual.last", []) is None


def test_a_claim_tells_it_in_percent() -> None:
    records = seeds([1.0] * 30)
    claim = Claim(says="It errs little.", of={}, metric="error", expect="at most", bound=0.2)
    (outcome,) = check_claims([claim], records)
    assert outcome.outcome == "holds"
    assert outcome.evidence.startswith("error in % 0.0 [0.0, ")
