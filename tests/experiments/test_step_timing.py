"""A few timed steps stand for a shape; other shapes of its kind are modeled by their operations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from attnlab.experiments.plan_cost import StepsEstimate
from attnlab.experiments.shape_timing import GROWTH, ShapeTiming, modeled, shape_cost
from attnlab.experiments.step_timing import time_shape, typical_step
from attnlab.tasks.io.streams import Source
from tests.experiments.sweeps import planned

CPU = torch.device("cpu")
ONE = ShapeTiming(
    operations=100.0,
    step=1.0,
    drawing=0.25,
    setup=0.5,
    answering=((4, 0.01),),
    diagnostics=2.0,
    parameters=10,
    state=120,
    count=1,
)
FOUR = replace(ONE, operations=400.0, step=2.5)


def test_between_two_timed_shapes_a_step_is_affine_in_its_operations() -> None:
    between = modeled([ONE, FOUR], 200.0)
    assert between.step == pytest.approx(1.5)
    assert between.answering[0][1] == pytest.approx(0.015)
    assert (between.drawing, between.setup) == (ONE.drawing, ONE.setup)


def test_beyond_the_timed_shapes_a_step_grows_with_the_root_of_its_operations() -> None:
    assert modeled([ONE], 900.0).step == pytest.approx(9**GROWTH)
    assert modeled([ONE, FOUR], 1600.0).step == pytest.approx(2.5 * 4**GROWTH)
    assert modeled([FOUR, ONE], 25.0).step == pytest.approx(0.25**GROWTH)


def test_a_shape_with_the_operations_of_a_timed_one_has_its_times() -> None:
    assert modeled([FOUR, ONE], 100.0) == ONE


def test_a_batch_that_takes_too_long_is_extrapolated_from_a_few_sequences() -> None:
    specs = planned(levels=(4,), seeds=1, batch_size=256)
    whole = time_shape(specs, 1.0, 1, CPU, math.inf)
    hurried = time_shape(specs, 1.0, 1, CPU, 0.0)
    assert whole.parameters == hurried.parameters > 0
    assert 0 < hurried.step < 100 * whole.step


def test_a_run_costs_its_steps_validations_and_tests() -> None:
    (spec,) = planned(levels=(2,), seeds=1)
    source, steps = Source(spec.task, 0), StepsEstimate(6, "fixed")
    cost = shape_cost(replace(ONE, answering=((source.task.length, 0.01),)), source, [spec], 1, steps, "cpu")
    sequence = source.task.length * 0.01 + 0.25 / spec.train.batch_size
    assert cost.step == ONE.step + ONE.drawing
    assert cost.rate == pytest.approx(cost.step + spec.train.validation_examples * sequence / spec.train.eval_every)
    tested = cost.fixed - spec.train.test_examples * sequence
    assert ONE.setup + 2 * ONE.diagnostics < tested
    assert shape_cost(ONE, source, [spec], 1, steps, "cuda").step == ONE.step


def test_generated_answers_and_further_levels_are_tested_too() -> None:
    (spec,) = planned(levels=(2,), seeds=1)
    steps = StepsEstimate(6, "fixed")

    def fixed(**changed: object) -> float:
        task = spec.task.model_copy(update={"evaluate": changed.get("evaluate", ())})
        train = spec.train.model_copy(update={"rollout": changed.get("rollout", False)})
        changed_spec = spec.model_copy(update={"task": task, "train": train})
        return shape_cost(ONE, Source(task, 0), [changed_spec], 1, steps, "cpu").fixed

    assert fixed(evaluate=(3,)) > fixed()
    test = spec.train.test_examples * (Source(spec.task, 0).task.length * 0.01 + 0.25 / spec.train.batch_size)
    assert fixed(rollout=True) == pytest.approx(fixed() + test)  # two answers in place of one pass


def test_where_lengths_are_drawn_a_step_of_about_the_mean_length_is_timed() -> None:
    (spec,) = planned(levels=(2,), seeds=1)
    assert typical_step(Source(spec.task, 0)) == 0
    drawn = Source(spec.task.model_copy(update={"train": {"symbols": "1..40"}}), 0)
    lengths = [drawn.training(step, 1).inputs_BT.shape[1] for step in range(64)]
    typical = lengths[typical_step(drawn)]
    assert abs(typical - sum(lengths) / 64) <= 1
    assert min(lengths) < typical < max(lengths)


def test_diagnostics_are_timed_where_a_run_logs_them() -> None:
    (spec,) = planned(levels=(2,), seeds=1)
    assert time_shape([spec], 1.0, 1, CPU, 0.0).diagnostics == 0
    logging = spec.model_copy(update={"train": spec.train.model_copy(update={"log_diagnostics": ("rank",)})})
    assert time_shape([logging], 1.0, 1, CPU, 0.0).diagnostics > 0


def test_the_longest_sequences_are_timed_too() -> None:
    (spec,) = planned(levels=(2,), seeds=1)
    longer = spec.model_copy(update={"task": spec.task.model_copy(update={"evaluate": (3, 9, 5)})})
    source = Source(longer.task, 0)
    lengths = [length for length, _ in time_shape([longer], 1.0, 1, CPU, 0.0).answering]
    assert lengths == [source.task.length, source.other_levels[9].length]
