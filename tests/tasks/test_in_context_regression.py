"""In-context regression: its sequences, chance and ceiling, and the way of numbers through training and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, TASKS, Split, Task
from attnlab.tasks.in_context_regression import InContextRegression


def made(**options: Any) -> InContextRegression:
    return InContextRegression(**TASKS.entry("in-context-regression").complete(options))


def solved(task: Task, sequences: int) -> tuple[float, float]:
    """Accuracy and mean squared error of the solver."""
    batch = task.sample(np.random.default_rng(5), sequences)
    answers = np.array([task.solve(tokens) for tokens in batch.inputs_BT.tolist()])
    answers_N = answers[batch.targets_BT != IGNORE]
    return float(batch.correct(answers_N).mean()), float(((answers_N - batch.query_targets()) ** 2).mean())


def test_numbers_follow_from_one_map_per_sequence() -> None:
    batch = made(dimensions=3, examples=8).for_split(Split.TRAIN).sample(np.random.default_rng(0), 20)
    xs, ys = batch.inputs_BT[:, ::2, 1:].astype(np.float64), batch.targets_BT[:, ::2].astype(np.float64)
    assert not batch.inputs_BT[:, ::2, 0].any()
    assert not batch.inputs_BT[:, 1::2, 1:].any()
    np.testing.assert_array_equal(batch.inputs_BT[:, 1::2, 0], batch.targets_BT[:, :-2:2])
    assert (batch.targets_BT[:, 1::2] == IGNORE).all()
    maps = []
    for x, y in zip(xs, ys, strict=True):
        weights, residual, _, _ = np.linalg.lstsq(x, y, rcond=None)
        assert residual < 1e-10
        maps.append(weights)
    assert np.std(maps) == pytest.approx(1 / np.sqrt(3), rel=0.3)


def test_the_test_asks_where_enough_pairs_came_before() -> None:
    def asked(task: Task) -> list[int]:
        targets_BT = task.sample(np.random.default_rng(0), 3).targets_BT
        return np.flatnonzero((targets_BT != IGNORE).all(axis=0)).tolist()

    assert asked(made()) == [4, 6, 8]
    assert asked(made().for_split(Split.TRAIN)) == [0, 2, 4, 6, 8]
    assert asked(made(known=1)) == [2]
    assert asked(made(dimensions=4, examples=6)) == [8, 10]


@pytest.mark.parametrize("options", [{}, {"dimensions": 5}, {"noise": 0.5}, {"dimensions": 3, "known": 1}])
def test_the_guess_zero_has_the_declared_chance(options: dict[str, Any]) -> None:
    task = made(**options)
    batch = task.sample(np.random.default_rng(1), 40_000)
    correct_BA = batch.correct(np.zeros_like(batch.query_targets())).reshape(40_000, -1)
    assert correct_BA.mean() == pytest.approx(task.chance, abs=0.006)
    assert correct_BA.all(axis=1).mean() == pytest.approx(task.exact_match_chance, abs=0.006)
    assert (batch.query_targets() ** 2).mean() == pytest.approx(1 + task.noise**2, rel=0.05)


@pytest.mark.parametrize("options", [{"noise": 0.5}, {"dimensions": 4, "noise": 0.2}, {"dimensions": 4, "known": 2}])
def test_ridge_regression_reaches_the_declared_ceiling(options: dict[str, Any]) -> None:
    task = made(**options)
    accuracy, _ = solved(task, 3000)
    assert task.best_accuracy < 1
    assert accuracy == pytest.approx(task.best_accuracy, abs=0.03)


def test_without_noise_enough_pairs_determine_every_answer() -> None:
    accuracy, error = solved(made(dimensions=6), 200)
    assert (accuracy, made(dimensions=6).best_accuracy) == (1.0, 1.0)
    assert error < 1e-6


def test_no_other_linear_predictor_is_better_than_the_solver() -> None:
    """The error of the ridge parameter d s^2 is below that of parameters on both sides of it."""
    task = made(dimensions=4, noise=0.7)
    _, best = solved(task, 3000)
    for factor in (0.4, 2.5):
        other = made(dimensions=4, noise=0.7)
        batch = other.sample(np.random.default_rng(5), 3000)
        other.noise *= factor
        answers = np.array([other.solve(tokens) for tokens in batch.inputs_BT.tolist()])
        assert ((answers[batch.targets_BT != IGNORE] - batch.query_targets()) ** 2).mean() > best


def test_an_answer_within_the_tolerance_is_right() -> None:
    batch = made(tolerance=0.1).sample(np.random.default_rng(0), 4)
    targets = batch.query_targets()
    assert batch.correct(targets + np.float32(0.09)).all()
    assert not batch.correct(targets - np.float32(0.11)).any()


def test_a_test_after_all_examples_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        made(known=5)
    assert str(caught.value) == (
        "in-context-regression\n"
        "  A test after 5 pairs needs more than 5 examples.\n"
        "  Use at least 6 examples; 0 takes 5."
    )
