"""The fall of the loss over quarters of the rate spent, its noise, and what it promises."""

from __future__ import annotations

import math
from typing import Any

import pytest

from attnlab.analysis.loss_trend import FALLING, NARROW, STEEP, LossTrend, loss_trend, peak_move, weight_moved
from attnlab.records import HistoryPoint, Record
from attnlab.specs import ModulePart, TrainSpec
from attnlab.training.schedule import rate_spent
from tests.rendering.samples import record, spec

CONSTANT: dict[str, Any] = {"schedule": "constant", "warmup_ratio": 0.0, "max_steps": 400}


def make_run(*losses: float, every: int = 100, initial: float | None = None, **train: Any) -> Record:
    history = tuple(
        HistoryPoint(step=every * n, loss=2 * loss, accuracy=0.5, validation_loss=loss)
        for n, loss in enumerate(losses, 1)
    )
    base = spec().model_copy(update={"train": TrainSpec(**{**CONSTANT, **train})})
    return record(base).model_copy(update={"history": history, "initial_loss": initial, "steps": every * len(losses)})


def trend_of(run: Record) -> LossTrend:
    trend = loss_trend(run)
    assert trend is not None
    return trend


def test_quarters_at_a_constant_rate_are_those_of_the_steps() -> None:
    trend = trend_of(make_run(4.0, 3.0, 2.0, 1.0))
    assert trend.falls == pytest.approx((0.25, 1 / 3, 0.5))
    assert (trend.end, trend.lowest, trend.highest) == (1.0, 1.0, 8.0)


def test_quarters_of_a_cosine_are_those_of_its_rate() -> None:
    """A loss that falls in proportion to the rate spent falls as much in each quarter, though flat in the steps."""
    train = {"schedule": "cosine", "max_steps": 1000}
    spent = rate_spent(TrainSpec(**{**CONSTANT, **train}))
    losses = [float(5 - spent[step] / spent[-1]) for step in range(10, 1001, 10)]
    trend = trend_of(make_run(*losses, every=10, initial=5.0, **train))
    assert trend.falls == pytest.approx((0.25 / 4.75, 0.25 / 4.5, 0.25 / 4.25), rel=1e-3)
    assert (losses[-26] - losses[-1]) / losses[-26] < FALLING  # over the last quarter of the steps
    assert trend.falling == "yes"


@pytest.mark.parametrize(
    ("losses", "falling"),
    [
        ((1.0, 1.0, 1.0, 1.0), "no"),
        ((1.1, 1.0, 1.0 - 1.01 * FALLING, (1.0 - 1.01 * FALLING) ** 2), "yes"),
        ((1.1, 1.0, 1.0, 1.0 - 1.01 * FALLING), "unclear"),
        ((1.1, 1.0, 1.0 - 1.01 * FALLING, 1.0 - 1.01 * FALLING), "unclear"),
        ((1.1, 1.0, 1.0, 1.0 - 1.01 * STEEP), "yes"),
        ((1.004, 1.003, 1.002, 1.001), "yes"),  # hardly, but as fast as ever: a tenth of the rate that it needs
        ((1.1, 1.01, 1.002, 1.0), "no"),  # each quarter a fifth of the one before
        ((1.0, 1.1, 1.2, 1.3), "no"),
        ((1.0, 1.0, 1.03, 1.0), "no"),  # it fell by as much as it rose
    ],
)
def test_whether_the_loss_is_falling(losses: tuple[float, ...], falling: str) -> None:
    assert trend_of(make_run(*losses)).falling == falling


def test_a_fall_within_the_noise_is_none() -> None:
    noisy = (1.2, 1.0, 1.05, 1.0, 1.05, 1.0, 1.05, 1.0, 1.05, 1.0, 1.05, 1.0, 1.05, 1.0, 1.03, 1.0)
    trend = trend_of(make_run(*noisy, every=25))
    assert trend.noise > 0.03
    assert trend.falling == "no"
    smooth = trend_of(make_run(*(1.2 - 0.001 * n for n in range(16)), every=25))
    assert smooth.noise == pytest.approx(0, abs=1e-9)
    assert smooth.falling == "yes"


def test_one_validation_is_compared_with_the_steps_before_it() -> None:
    trend = trend_of(make_run(1.0, every=400, initial=3.0))  # the training loss is 2 in the middle
    assert trend.falls == pytest.approx((0.5 / 2.5, 0.5 / 2, 0.5 / 1.5))
    assert trend.falling == "yes"
    assert trend_of(make_run(1.0, every=400, initial=0.5)).lowest == 1.0  # the first step had other sequences
    assert loss_trend(make_run()) is None
    assert loss_trend(make_run(1.0, every=400, initial=math.nan)) is None


def test_with_few_training_sequences_the_training_loss_counts() -> None:
    run = make_run(1.0, 0.9, 0.8, 0.7, train_examples=64)
    assert trend_of(run).end == 1.4
    older = make_run(1.0, 0.9, 0.8, 0.7)
    without = tuple(point.model_copy(update={"validation_loss": None}) for point in older.history)
    assert trend_of(older.model_copy(update={"history": without})).end == 1.4


def test_how_far_a_weight_can_have_moved() -> None:
    run = make_run(1.0, 1.0, lr=1e-3)
    size = 1 / math.sqrt(run.spec.model.width)
    assert weight_moved(run) == pytest.approx(200 * 1e-3 / size)
    assert peak_move(run) == pytest.approx(1e-3 / size)
    larger = run.spec.model.model_copy(update={"init_scale": 10.0})
    scaled = run.model_copy(update={"spec": run.spec.model_copy(update={"model": larger})})
    assert weight_moved(scaled) == pytest.approx(weight_moved(run) / 10)
    for width, same in ((NARROW // 2, NARROW), (2 * NARROW, 2 * NARROW)):
        narrow = run.spec.model.model_copy(update={"width": width})
        of_width = run.model_copy(update={"spec": run.spec.model_copy(update={"model": narrow})})
        assert peak_move(of_width) == pytest.approx(1e-3 * math.sqrt(same))
    own = run.spec.model.model_copy(update={"module": ModulePart(name="own.py:Model")})
    for change in ({"model": own}, {"continue_from": "0" * 12}):
        other = run.model_copy(update={"spec": run.spec.model_copy(update=change)})
        assert (weight_moved(other), peak_move(other)) == (math.inf, 0.0)
