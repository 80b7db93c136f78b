"""The scorers of a task reach the record, the store, reports, claims, trackers and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlab
from attnlab.analysis.claims import check_claims
from attnlab.analysis.record_columns import record_rows
from attnlab.config.experiment import Claim
from attnlab.errors import UnknownNameError
from attnlab.experiments.request import Request
from attnlab.experiments.run_train import run_train
from attnlab.intervals import mean_interval, wilson_interval
from attnlab.records import Record, SequenceMean
from attnlab.rendering.lengths import LengthTable
from attnlab.scorer import Scorer
from attnlab.specs import Part
from attnlab.tasks import IGNORE, TASKS, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tracking.points import result_values
from attnlab.training.scoring import joined, score

BUDGET: dict[str, Any] = {"max_steps": 3, "eval_every": 3, "batch_size": 4, "test_examples": 12}
MODEL: dict[str, Any] = {"layers": 1, "width": 8, "heads": 1}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    store = tmp_path_factory.mktemp("scored") / "results"
    settings = {"model": MODEL, "train": BUDGET}
    request = Request(task=Part(name="brevo"), complexity=4, evaluate=(3,), settings=settings)
    (record,) = run_train(request, store=store, device_name="cpu")
    return record, store


def test_a_record_has_the_means_of_its_test_and_of_each_further_level(stored: tuple[Record, Path]) -> None:
    record, _ = stored
    (other,) = record.evaluations
    for scores in (record.scores, other.scores):
        assert set(scores) == {"set_match", "f1"}
        assert all(one.count == 12 and 0 <= one.mean <= 1 for one in scores.values())
    assert record.rollout
    assert record.fed_back


def test_the_store_keeps_them(stored: tuple[Record, Path]) -> None:
    record, store = stored
    (read,) = attnlab.load_records(store)
    assert read.scores == record.scores
    assert read.numbers() == record.numbers()
    assert "scores" not in Record.model_validate({**record.numbers(), "scores": {}}).numbers()


def test_reports_and_frames_have_them_by_name(stored: tuple[Record, Path]) -> None:
    record, store = stored
    (row,) = record_rows([record])
    assert row["f1"] == record.scores["f1"].mean
    (panel,) = attnlab.report(store, metric="f1").panels
    means = [cell.mean for cell in panel.cells.values()]
    assert record.scores["f1"].mean in means
    with pytest.raises(UnknownNameError, match="edit_distance"):
        attnlab.report(store, metric="edit_distance")


def test_a_claim_is_decided_by_them(stored: tuple[Record, Path]) -> None:
    record, _ = stored
    perfect = SequenceMean(count=12, total=12.0, squares=12.0, bounds=(0.0, 1.0))
    runs = [
        record.model_copy(
            update={"scores": {"f1": perfect}, "spec": record.spec.model_copy(update={"seed": seed}), "id": f"a{seed}"}
        )
        for seed in range(40)
    ]
    claim = Claim(says="near", of={"level": 4}, metric="f1", expect="at least", bound=0.9)
    (outcome,) = check_claims([claim], runs)
    assert outcome.outcome == "holds"
    assert outcome.estimate == 1.0


def test_trackers_are_told(stored: tuple[Record, Path]) -> None:
    record, _ = stored
    values = result_values(record)
    assert values["test/set_match"] == record.scores["set_match"].mean
    assert values["test/level=3,rollout/f1"] == record.evaluations[0].scores["f1"].mean


def test_an_evaluation_scores_alike(stored: tuple[Record, Path]) -> None:
    record, store = stored
    (found,) = attnlab.evaluate(record.id, store=store, complexity=4, device="cpu")
    assert found.scores == record.scores
    assert found.accuracy == record.accuracy
    assert found.exact_match == record.exact_match
    (row,) = LengthTable(record, [found]).data()["rows"]
    assert row["f1"] == record.scores["f1"].mean


def test_sums_of_parts_are_those_of_the_whole() -> None:
    task = build(task_spec(find_ladder("brevo"), {}, 6))
    batches = [task.sample(np.random.default_rng(seed), 9) for seed in range(3)]
    random = np.random.default_rng(0)
    answers = [random.integers(0, task.vocabulary, len(batch.query_positions())) for batch in batches]
    whole = score(batches, answers, 0.1, scorers=task.scorers)
    parts = [score([one], [guess], 0.1, scorers=task.scorers) for one, guess in zip(batches, answers, strict=True)]
    assert joined(parts, 0.1).scores["f1"].mean == pytest.approx(whole.scores["f1"].mean)
    assert joined(parts, 0.1).scores["f1"].interval == pytest.approx(whole.scores["f1"].interval)


def test_a_sequence_without_a_question_is_left_out() -> None:
    inputs, targets = np.zeros((3, 2), np.int64), np.array([[1, 2], [IGNORE, IGNORE], [IGNORE, 1]])
    scored = score([Batch(inputs, targets)], [np.array([1, 2, 0])], 0.5, scorers=("set_match",))
    assert scored.scores["set_match"].count == 2
    assert scored.scores["set_match"].mean == 0.5


def test_an_interval_between_bounds_is_that_of_wilson_for_shares_and_covers_others() -> None:
    """Of numbers that are 0 or 1 it is Wilson's but for Student's quantile; of 0.5 +- 0.1 it is much shorter."""
    low, high = mean_interval(1000, 300.0, 300.0, (0.0, 1.0))
    assert (low, high) == pytest.approx(wilson_interval(300, 1000), abs=1e-3)
    random, covered = np.random.default_rng(0), 0
    for _ in range(400):
        numbers = random.beta(2, 6, 40)  # mean 0.25
        low, high = mean_interval(40, float(numbers.sum()), float(numbers @ numbers), (0.0, 1.0))
        covered += low <= 0.25 <= high
        assert high - low < 0.2
    assert covered >= 370
    assert mean_interval(20, 20.0, 20.0, (0.0, 1.0))[0] < 1
    numbers = random.normal(3, 2, 50)
    low, high = mean_interval(50, float(numbers.sum()), float(numbers @ numbers))
    half = 2.0096 * numbers.std(ddof=1) / np.sqrt(50)  # Student's quantile of 49 degrees of freedom
    assert (low, high) == pytest.approx((numbers.mean() - half, numbers.mean() + half), abs=1e-3)


def test_a_task_with_an_unknown_scorer_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASKS.entry("copy").cls, "scorers", ("f2",))
    with pytest.raises(UnknownNameError, match="There is no scorer 'f2'"):
        attnlab.train("copy", "softmax", model=MODEL, train=BUDGET, store=None, device="cpu")


def test_a_scorer_of_ones_own_needs_no_more_than_score() -> None:
    class Last(Scorer):
        def score(self, answers_BA: Any, targets_BA: Any) -> Any:
            return (answers_BA[:, -1] == targets_BA[:, -1]).astype(float)

    assert Last().score(np.array([[1, 2]]), np.array([[0, 2]])).tolist() == [1.0]
