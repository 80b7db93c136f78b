"""Records survive their line of the journal; intervals are those of scipy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binomtest

from attnlab.records import SOLVED, DiagnosticsPoint, HistoryPoint, Record, Score
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec, TrainSpec

SPEC = RunSpec(task=TaskSpec(name="recall", options={"pairs": 4}, complexity="pairs", version=1))


def record(spec: RunSpec = SPEC, **changes: Any) -> Record:
    data: dict[str, Any] = {
        "id": spec.id,
        "spec": spec,
        "status": "done",
        "steps": 100,
        "parameters": 1234,
        "accuracy": Score(correct=99, total=100, chance=0.25),
        "exact_match": Score(correct=20, total=25, chance=0.01),
        "history": (HistoryPoint(step=100, loss=0.5, accuracy=0.75),),
        "environment": {"seconds": 1.5},
    }
    return Record(**{**data, **changes})


def test_an_id_survives_the_journal() -> None:
    spec = RunSpec(
        task=TaskSpec(name="recall", options={"power": 0.1}),
        model=ModelSpec(attention=(Part(name="gpam", options={"lambdas": (0.5, -1.0)}),)),
    )
    read = Record.from_line(record(spec).model_dump_json())
    assert read.spec.id == read.id == spec.id


def test_the_environment_is_not_part_of_the_numbers() -> None:
    one, other = record(environment={"device": "cpu"}), record(environment={"device": "cuda"})
    assert one != other
    assert one.numbers() == other.numbers()
    assert "environment" not in one.numbers()


def test_a_record_survives_the_journal() -> None:
    line = record().model_dump_json()
    assert "\n" not in line
    assert Record.from_line(line) == record()


def test_logged_diagnostics_survive_the_journal() -> None:
    points = (
        DiagnosticsPoint(step=1, values={"residual": (0.5, math.inf)}),
        DiagnosticsPoint(step=2, values={"residual": (0.5, 0.25)}),
    )
    assert Record.from_line(record(diagnostics_history=points).model_dump_json()).diagnostics_history == points


def test_a_record_of_a_diverged_run_survives_the_journal() -> None:
    spec = SPEC.model_copy(update={"train": TrainSpec(weight_decay=math.inf)})
    history = (HistoryPoint(step=1, loss=math.nan, accuracy=0.0),)
    read = Record.from_line(record(spec, status="diverged", history=history).model_dump_json())
    assert read.spec == spec
    assert math.isnan(read.history[0].loss)


@pytest.mark.parametrize(
    ("status", "correct", "solved"), [("done", 99, True), ("done", 98, False), ("diverged", 100, False)]
)
def test_a_run_is_solved_from_the_bound_on(status: str, correct: int, solved: bool) -> None:
    assert SOLVED == 0.99
    assert record(status=status, accuracy=Score(correct=correct, total=100, chance=0.5)).solved is solved


@given(some.integers(1, 5000).flatmap(lambda total: some.tuples(some.integers(0, total), some.just(total))))
def test_the_interval_is_that_of_wilson(counts: tuple[int, int]) -> None:
    correct, total = counts
    score = Score(correct=correct, total=total, chance=0.5)
    expected = binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert score.mean == correct / total
    assert score.interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= score.interval[0] <= score.interval[1] <= 1


def test_a_score_of_no_examples_is_not_a_number() -> None:
    score = Score(correct=0, total=0, chance=0.5)
    assert all(map(math.isnan, (score.mean, *score.interval)))
