"""Records survive their line of the journal; intervals are those of scipy."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError
from scipy.stats import binomtest

from attnlab.records import SOLVED, DiagnosticsPoint, HistoryPoint, Record, Score, SequenceSums, distinct
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


def test_each_run_is_taken_once_and_a_failed_one_does_not_replace_another() -> None:
    one, two = record(), record(SPEC.model_copy(update={"seed": 9}))
    again, failed = one.model_copy(update={"steps": 7}), one.model_copy(update={"status": "failed"})
    assert distinct([one, two]) == [one, two]
    assert distinct(iter([one, two, again])) == [again, two]
    assert distinct([one, two, failed]) == [one, two]
    assert distinct([failed, two, one]) == [one, two]


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


def strict(line: str) -> Any:
    """A line read by a parser that knows neither NaN nor infinities."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(line, parse_constant=refuse)


def test_a_record_of_a_diverged_run_survives_the_journal_as_strict_json() -> None:
    history = (
        HistoryPoint(step=1, loss=math.inf, accuracy=0.5, validation_loss=math.inf),
        HistoryPoint(step=2, loss=math.nan, accuracy=0.0),
    )
    points = (DiagnosticsPoint(step=1, values={"residual": (math.nan, -math.inf, 0.5)}),)
    nothing = Score(correct=0, total=0, chance=math.nan)
    line = record(
        status="diverged", history=history, diagnostics_history=points, exact_match=nothing, environment={"x": math.nan}
    ).model_dump_json()
    data = strict(line)
    assert [point["loss"] for point in data["history"]] == ["Infinity", None]
    assert data["diagnostics_history"][0]["values"]["residual"] == [None, "-Infinity", 0.5]
    assert (data["exact_match"]["mean"], data["environment"]["x"]) == (None, None)
    read = Record.from_line(line)
    assert read.history[0] == history[0]
    assert math.isnan(read.history[1].loss)
    assert read.diagnostics_history[0].values["residual"][1:] == (-math.inf, 0.5)
    assert all(map(math.isnan, (read.diagnostics_history[0].values["residual"][0], read.exact_match.chance)))
    assert strict(read.model_dump_json()) == data


def test_lines_that_were_written_with_bare_constants_are_read() -> None:
    line = record(history=(HistoryPoint(step=1, loss=0.25, accuracy=0.0),)).model_dump_json()
    assert math.isnan(Record.from_line(line.replace('"loss":0.25', '"loss":NaN')).history[0].loss)


@pytest.mark.parametrize("field", ["weight_decay", "grad_clip", "lr"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_spec_has_finite_numbers(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        TrainSpec.model_validate({field: value})


def test_fields_of_a_newer_attnlab_are_kept_and_written_again() -> None:
    data = strict(record().model_dump_json())
    data["new"] = {"a": [1]}
    data["history"][0]["new"] = 2
    read = Record.from_line(json.dumps(data))
    assert read.accuracy == record().accuracy
    assert strict(read.model_dump_json()) == data


def test_sums_and_scores_of_a_newer_attnlab_are_read() -> None:
    sums = SequenceSums(count=2, correct_squared=5, correct_questions=7, questions_squared=10)
    score = Score(correct=3, total=4, chance=0.5, sequences=sums)
    data = strict(record(accuracy=score).model_dump_json())
    for place in (data["accuracy"], data["accuracy"]["sequences"], data["exact_match"]):
        place["new"] = 1
    read = Record.from_line(json.dumps(data))
    assert read.accuracy == score
    assert read.accuracy.interval == score.interval
    assert read.accuracy.plus(score) == score.plus(score)


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
