"""The accuracy that multi-task training costs, from constructed records."""

from __future__ import annotations

import pytest

from attnlab.analysis.statistics import Sample, difference
from attnlab.records import Evaluation, Record, Score
from attnlab.rendering.interference import interference
from attnlab.specs import RunSpec, TaskSpec
from tests.rendering.capture import drawn


def score(share: float) -> Score:
    return Score(correct=round(1000 * share), total=1000, chance=0.1)


def run(seed: int, **accuracies: float) -> Record:
    spec = RunSpec(
        task=TaskSpec(name="mixture", options={"level": 0, "tasks": "+".join(accuracies)}, complexity="level"),
        seed=seed,
    )
    evaluations = tuple(
        Evaluation(subtask=name, level=0, length=8, accuracy=score(share), exact_match=score(share), loss=0.5)
        for name, share in accuracies.items()
    )
    mean = score(sum(accuracies.values()) / len(accuracies))
    return Record(
        id=spec.id, spec=spec, status="done", steps=9, accuracy=mean, exact_match=mean, evaluations=evaluations
    )


RECORDS = [
    *(run(seed, copy=0.9 + seed / 100) for seed in range(3)),
    *(run(seed, recall=0.8) for seed in range(3)),
    *(run(seed, copy=0.5 + seed / 100, recall=0.8) for seed in range(3)),
]


def test_the_accuracy_change_is_together_less_alone() -> None:
    (matrix,) = interference(RECORDS)
    assert matrix.tasks == ("copy", "recall")
    cell = matrix.cells["copy", ("recall",)]
    assert cell.accuracies == (0.5, 0.51, 0.52)
    assert cell.accuracy_change == pytest.approx(-0.4)
    seeds = (0, 1, 2)
    together, alone = Sample((0.5, 0.51, 0.52), (0.1, 1.0), seeds), Sample((0.9, 0.91, 0.92), (0.1, 1.0), seeds)
    assert cell.interval == difference([together], [alone])[1]
    assert matrix.cells["recall", ("copy",)].accuracy_change == 0


def test_the_matrix_shows_the_change_against_training_alone_below() -> None:
    (matrix,) = interference(RECORDS)
    text = "\n".join(drawn(matrix))
    assert "with recall" in text
    assert "91.0 %" in text
    assert "-40.0 [" in text


def test_evaluations_on_other_levels_are_left_out() -> None:
    both = run(0, copy=0.9, recall=0.8)
    other = both.evaluations[1].model_copy(update={"level": 3})
    (matrix,) = interference([both.model_copy(update={"evaluations": (both.evaluations[0], other)})])
    assert list(matrix.cells) == [("copy", ())]


def test_runs_of_other_tasks_are_left_out() -> None:
    plain = run(0, copy=0.1).model_copy(update={"spec": RunSpec(task=TaskSpec(name="copy")), "id": "plain"})
    assert interference([plain]) == []
