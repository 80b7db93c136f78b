"""The learning rate: a linear warmup, then half a cosine or a constant."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import pytest

from attnlab.specs import TrainSpec
from attnlab.training.schedule import learning_rate, rate_spent


def test_warmup_rises_in_equal_steps_to_the_peak() -> None:
    train = TrainSpec(max_steps=100, lr=0.5, warmup_ratio=0.1)
    assert [learning_rate(train, step) for step in range(10)] == pytest.approx(
        [0.05 * (step + 1) for step in range(10)]
    )
    assert learning_rate(train, 10) == 0.5


def test_the_rate_falls_along_half_a_cosine_to_the_minimum() -> None:
    train = TrainSpec(max_steps=110, lr=2.0, warmup_ratio=10 / 110, min_lr_ratio=0.2)
    assert learning_rate(train, 10) == 2.0
    assert learning_rate(train, 60) == pytest.approx(2.0 * 0.6)
    assert learning_rate(train, 35) == pytest.approx(2.0 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4))))
    rates = [learning_rate(train, step) for step in range(10, 110)]
    assert rates == sorted(rates, reverse=True)
    assert 0.4 < rates[-1] < 0.401
    assert learning_rate(train, 110) == pytest.approx(0.4)


def test_a_constant_schedule_stays_at_the_peak() -> None:
    train = TrainSpec(max_steps=100, lr=0.5, warmup_ratio=0.02, schedule="constant")
    assert [learning_rate(train, step) for step in (0, 1, 2, 50, 99)] == [0.25, 0.5, 0.5, 0.5, 0.5]


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert learning_rate(TrainSpec(max_steps=10, lr=0.5, warmup_ratio=0.0), 0) == 0.5


def test_warmup_may_take_all_steps() -> None:
    train = TrainSpec(max_steps=4, lr=1.0, warmup_ratio=1.0)
    assert [learning_rate(train, step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_a_minimum_ratio_of_one_never_falls() -> None:
    assert learning_rate(TrainSpec(max_steps=10, lr=0.5, warmup_ratio=0.0, min_lr_ratio=1.0), 9) == 0.5


@pytest.mark.parametrize("warmup_ratio", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_rate_spent_is_the_sum_of_the_rates(schedule: Any, warmup_ratio: float) -> None:
    train = TrainSpec(max_steps=30, lr=0.5, warmup_ratio=warmup_ratio, schedule=schedule, min_lr_ratio=0.2)
    rates = [learning_rate(train, step) for step in range(30)]
    assert rate_spent(train).tolist() == pytest.approx([*accumulate(rates, initial=0.0)])
