"""The cost of a plan: some shapes are timed, the others modeled; finished runs are left out; the table fits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from attnlab.execution.jobs import WorkerSettings
from attnlab.execution.processes import WORKER_MEMORY
from attnlab.experiments import cost_estimate
from attnlab.experiments.cost_estimate import Planning, estimate_cost
from attnlab.experiments.expand import expand
from attnlab.experiments.plan_cost import SPEED_ERROR, CostEstimate, ShapeCost, StepsEstimate
from attnlab.model.transformer import build
from attnlab.rendering.cost_estimate import SHOWN, CostTable
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.tasks.io.streams import Source
from tests.experiments.sweeps import Fake, planned, shown, tiny
from tests.rendering.capture import drawn

NOWHERE = Path("nowhere")


def text_of(estimate: CostEstimate) -> str:
    return "\n".join(drawn(CostTable(estimate)))


def shape(
    rate: float, *, missing: int = 1, steps: float = 100, most: int = 100, memory: int = 1, vmap: int = 1
) -> ShapeCost:
    known = StepsEstimate(steps, "store", known=1)
    return ShapeCost(
        "copy symbols=2 · softmax", 4, missing, 1920, 10**6, rate, 0.0, rate, most, known, memory, vmap=vmap
    )


def estimate_of(*shapes: ShapeCost, workers: int = 1, memory: int = 2**40, **more: float) -> CostEstimate:
    return CostEstimate(shapes, workers, f"{workers} processes", memory, **more)


def test_finished_runs_cost_nothing_and_each_shape_has_its_own_numbers(tmp_path: Path) -> None:
    specs = planned("softmax", "gpam", levels=(1, 2), seeds=3)
    store = Store(tmp_path)
    store.open()
    store.append([shown(specs[0]), shown(specs[1], status="failed")])
    estimate = estimate_cost(specs, tmp_path, Fake())
    assert [(one.runs, one.missing) for one in estimate.shapes] == [(3, 2), (3, 3), (3, 3), (3, 3)]
    assert (estimate.workers, estimate.description) == (1, "fake")
    for one, spec in zip(estimate.shapes, specs[::3], strict=True):
        source = Source(spec.task, 0)
        model = build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
        assert one.parameters == model.parameter_count
        assert one.summary == f"copy symbols={spec.task.level} · {spec.variant} · fourier"
        assert one.flops > 2 * 3 * spec.task.level * one.parameters / 4
        assert one.seconds(one.max_steps) > one.step * spec.train.max_steps > 0
        assert one.memory > WORKER_MEMORY
    assert 0 < estimate.expected == estimate.whole
    assert estimate.whole == pytest.approx(sum(one.missing * one.seconds(6) for one in estimate.shapes))
    assert store.records()[0].id == specs[0].id
    assert not (tmp_path / "checkpoints").exists()


def test_learning_rates_and_seeds_share_a_shape() -> None:
    specs = [spec for lr in (1e-3, 3e-3) for spec in planned(levels=(1,), seeds=2, lr=lr)]
    (one,) = estimate_cost(specs, NOWHERE, Fake()).shapes
    assert one.runs == 4


def wide(*widths: int) -> list[RunSpec]:
    experiment = tiny(levels=(2,), seeds=1)
    return expand(experiment.model_copy(update={"grid": {**experiment.grid, "width": list(widths)}}))


def test_of_each_kind_the_largest_is_timed_first_then_the_smallest_and_others_are_modeled() -> None:
    specs = [*wide(8, 16, 32, 64), *planned("gpam", levels=(2,), seeds=1)]
    shapes = cost_estimate._shapes(specs, set())
    assert list(cost_estimate._order(shapes)) == [3, 4, 0, 1, 2]
    everything = estimate_cost(specs, NOWHERE, Fake(), seconds=math.inf).shapes
    assert all(one.timed for one in everything)
    hurried = estimate_cost(specs, NOWHERE, Fake(), seconds=0.0).shapes
    assert [one.timed for one in hurried] == [False, False, False, True, False]
    assert hurried[0].step < hurried[1].step < hurried[2].step < hurried[3].step
    assert [one.parameters for one in hurried] == [one.parameters for one in everything]
    assert [one.flops for one in hurried] == [one.flops for one in everything]
    assert hurried[0].memory < hurried[3].memory


def test_shapes_of_one_kind_with_the_same_operations_are_timed_once() -> None:
    specs = [spec for steps in (6, 12, 24) for spec in planned(levels=(2,), seeds=1, max_steps=steps)]
    estimate = estimate_cost(specs, NOWHERE, Fake(), seconds=math.inf)
    assert [one.timed for one in estimate.shapes] == [True, False, False]
    assert len({one.step for one in estimate.shapes}) == 1
    assert "Steps of 1 of 3 shapes (the others: ~) were timed" in " ".join(text_of(estimate).split())


def test_steps_that_are_known_are_expected_and_the_budget_where_nothing_is(tmp_path: Path) -> None:
    specs = planned(levels=(1,), seeds=4, early_stop_accuracy=0.9)
    (one,) = estimate_cost(specs, tmp_path, Fake()).shapes
    assert (one.steps.mean, one.steps.source) == (6, "unknown")
    (one,) = estimate_cost(specs, tmp_path, Fake(), 0.4).shapes
    assert one.steps.mean == pytest.approx(2.4)
    assert one.steps.source == "experiment"
    store = Store(tmp_path)
    store.open()
    took = zip(specs, (1, 2), strict=False)
    store.append([shown(spec).model_copy(update={"steps": steps, "early_stopped": True}) for spec, steps in took])
    for share in (None, 0.4):
        (one,) = estimate_cost(specs, tmp_path, Fake(), share).shapes
        assert (one.steps.mean, one.steps.source, one.missing) == (1.5, "store", 2)


def test_workers_share_the_time_but_no_run_is_split() -> None:
    four = estimate_of(shape(0.1, missing=4, steps=50), shape(1.0), workers=4)
    assert (four.expected, four.whole) == (105.0, 110.0)
    one = replace(four, workers=1)
    assert (one.expected, one.whole) == (120.0, 140.0)
    assert estimate_of(shape(0.1, missing=0), workers=2).expected == 0.0


def test_start_up_counts_and_no_worker_starts_where_nothing_is_missing() -> None:
    ready = estimate_of(shape(0.1), driver=2.0, worker=1.5)
    assert ready.expected == 13.5
    assert ready.range == pytest.approx(((1 - SPEED_ERROR) * 13.5, (1 + SPEED_ERROR) * 13.5))
    assert "3.5 s of it to start and to plan" in " ".join(text_of(ready).split())
    done = estimate_of(shape(0.1, missing=0), driver=2.0, worker=1.5)
    assert done.expected == 2.0
    assert "At most" not in text_of(done)


def test_planning_counts_as_start_up() -> None:
    specs = planned(levels=(1,), seeds=1)
    estimate = estimate_cost(specs, NOWHERE, Fake(), planning=Planning(imports=2.0, total=5.0))
    assert estimate.driver == 5.0
    assert estimate.worker == cost_estimate.WORKER_START * 2.0
    alone = Fake()
    alone.settings = WorkerSettings(threads=None)
    assert estimate_cost(specs, NOWHERE, alone, planning=Planning(2.0, 5.0)).start_up == 5.0


def test_the_range_is_two_standard_errors_of_the_steps_and_the_error_of_the_speed() -> None:
    known = StepsEstimate(50, "store", deviation=10, known=4)
    assert known.error(1) == pytest.approx(10 * math.sqrt(1 + 1 / 4))
    low, high = estimate_of(replace(shape(1.0), steps=known)).range
    assert low == pytest.approx((50 - 2 * known.error(1)) * (1 - SPEED_ERROR))
    assert high == pytest.approx((50 + 2 * known.error(1)) * (1 + SPEED_ERROR))


def test_nothing_known_is_a_range_from_one_validation_to_all_steps() -> None:
    unknown = StepsEstimate(100, "unknown", least=10)
    estimate = estimate_of(replace(shape(1.0), steps=unknown))
    assert estimate.expected == estimate.whole == 100
    assert estimate.range == pytest.approx((10 * (1 - SPEED_ERROR), 100 * (1 + SPEED_ERROR)))


def test_no_range_exceeds_all_steps() -> None:
    wild = StepsEstimate(90, "store", deviation=1000, known=1)
    assert estimate_of(replace(shape(1.0), steps=wild)).range == (0.0, 100 * (1 + SPEED_ERROR))


def test_vmapped_runs_are_timed_together_and_have_a_column() -> None:
    executor = Fake()
    executor.settings = WorkerSettings(vmap=2)
    specs = planned(levels=(1,), seeds=5)
    (one,) = estimate_cost(specs, NOWHERE, executor).shapes
    assert one.vmap == 2
    assert "vmap" in text_of(estimate_of(one))
    (alone,) = estimate_cost(specs, NOWHERE, Fake()).shapes
    assert alone.vmap == 1
    assert 0 < one.step / 2 < one.rate < one.step
    assert "vmap" not in text_of(estimate_of(alone))


def test_no_worker_is_done_before_its_longest_group() -> None:
    assert estimate_of(shape(0.1, missing=4, vmap=4, steps=50), workers=4).expected == 20.0
    assert estimate_of(shape(0.1, missing=5, vmap=4), workers=1).expected == 50.0


def test_the_table_fits_in_eighty_columns_and_only_steps_have_a_bound() -> None:
    text = text_of(estimate_of(shape(0.1, missing=4, steps=50), shape(1.0), workers=2))
    assert max(map(len, text.splitlines())) <= 80
    assert "8 runs, 3 already done, 5 to run; 2 processes." in text
    words = " ".join(text.split())
    assert "Expected: 1:50 min (1:28 min to 2:12 min)." in words
    assert "Steps of 5 runs: those of like runs of this store for 5. At most 500 steps in all: 2:00 min at" in words
    assert words.lower().count("at most") == 1
    assert "Will not fit" not in text


def test_a_shape_that_does_not_fit_into_memory_is_named() -> None:
    estimate = estimate_of(shape(1.0, memory=2**30), shape(1.0, memory=3 * 2**30), memory=2**31)
    assert estimate.too_large == [estimate.shapes[1]]
    words = " ".join(text_of(estimate).split())
    assert "not fit into memory: copy symbols=2 · softmax needs 3,072 MB; 2,048 MB are available." in words


def test_shapes_that_differ_in_their_width_are_told_apart() -> None:
    experiment = tiny("softmax", levels=(2,), seeds=1)
    grid = {**experiment.grid, "width": (8, 16), "lr": (0.01, 0.02)}
    specs = expand(experiment.model_copy(update={"grid": grid}))
    summaries = [one.summary for one in estimate_cost(specs, NOWHERE, Fake()).shapes]
    assert summaries == [f"copy symbols=2 · softmax · fourier · width={width} · 2 values of lr" for width in (8, 16)]


def test_of_very_many_shapes_those_that_take_longest_are_listed() -> None:
    shapes = [shape(0.01 * (index % 7 + 1)) for index in range(SHOWN + 50)]
    shapes[3] = replace(shapes[3], summary="long", missing=9)
    table = CostTable(estimate_of(*shapes))
    assert len(table.listed) == SHOWN
    listed = {id(one) for one in table.listed}
    assert [id(one) for one in table.listed] == [id(one) for one in shapes if id(one) in listed]  # as in the plan
    assert shapes[3] in table.listed
    rates = sorted((one.rate for one in shapes), reverse=True)
    assert min(one.rate for one in table.listed) >= rates[SHOWN - 1]
    assert "50 more shapes, which take less, are not listed; --json has them." in text_of(table.estimate)
    assert "not listed" not in text_of(estimate_of(shape(1.0)))
