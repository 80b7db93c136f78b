"""The cost of a plan: every shape is timed once, finished runs are left out, and the table fits a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnlab.execution.jobs import WorkerSettings
from attnlab.execution.processes import WORKER_MEMORY
from attnlab.experiments.cost_estimate import estimate_cost, kind
from attnlab.experiments.plan_cost import CostEstimate, ShapeCost
from attnlab.model.transformer import build
from attnlab.rendering.cost_estimate import CostTable
from attnlab.storage import Store
from attnlab.tasks.io.streams import Source
from tests.experiments.sweeps import Fake, planned, shown
from tests.rendering.capture import drawn


def text_of(estimate: CostEstimate) -> str:
    return "\n".join(drawn(CostTable(estimate)))


def shape(seconds: float, *, missing: int = 1, share: float = 1.0, memory: int = 1) -> ShapeCost:
    return ShapeCost("copy symbols=2 · softmax", 4, missing, 1920, 10**6, 0.01, seconds, share, memory)


def test_every_shape_is_timed_once_and_finished_runs_cost_nothing(tmp_path: Path) -> None:
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
        assert one.summary == f"copy symbols={spec.task.level} · {spec.variant} · learned"
        assert one.flops > 2 * 3 * spec.task.level * one.parameters / 4
        assert one.seconds > one.step * spec.train.max_steps > 0
        assert one.memory > WORKER_MEMORY
    least, most = estimate.seconds
    assert 0 < least <= most == pytest.approx(sum(one.missing * one.seconds for one in estimate.shapes))
    assert store.records()[0].id == specs[0].id
    assert not (tmp_path / "checkpoints").exists()


def test_learning_rates_and_seeds_share_a_shape() -> None:
    specs = [spec for lr in (1e-3, 3e-3) for spec in planned(levels=(1,), seeds=2, lr=lr)]
    (one,) = estimate_cost(specs, Path("nowhere"), Fake()).shapes
    assert one.runs == 4


def test_runs_that_stopped_early_make_the_lower_estimate(tmp_path: Path) -> None:
    specs = planned(levels=(1,), seeds=4)
    store = Store(tmp_path)
    store.open()
    store.append([shown(spec).model_copy(update={"steps": steps}) for spec, steps in zip(specs, (1, 2), strict=False)])
    for expected in (None, 0.9):
        (one,) = estimate_cost(specs, tmp_path, Fake(), expected).shapes
        assert one.share == pytest.approx(1.5 / 6)
    assert {kind(spec) for spec in specs} == {"copy 1 softmax learned"}


def test_the_expected_share_of_an_experiment_is_taken_where_no_run_is_finished(tmp_path: Path) -> None:
    (one,) = estimate_cost(planned(levels=(1,), seeds=4), tmp_path, Fake(), 0.4).shapes
    assert one.share == 0.4


def test_workers_share_the_time_but_no_run_is_split() -> None:
    four = CostEstimate((shape(10.0, missing=4, share=0.5), shape(100.0)), 4, "4 processes", 2**40)
    assert four.seconds == (100.0, 100.0)
    assert replace(four, workers=1).seconds == (120.0, 140.0)
    assert CostEstimate((shape(10.0, missing=0),), 2, "2 processes", 2**40).seconds == (0.0, 0.0)


def test_vmapped_runs_are_timed_together_and_have_a_column() -> None:
    executor = Fake()
    executor.settings = WorkerSettings(vmap=2)
    specs = planned(levels=(1,), seeds=5)
    (one,) = estimate_cost(specs, Path("nowhere"), executor).shapes
    assert one.vmap == 2
    assert "vmap" in text_of(CostEstimate((one,), 1, "fake", 2**40))
    (alone,) = estimate_cost(specs, Path("nowhere"), Fake()).shapes
    assert alone.vmap == 1
    assert one.seconds * 2 / one.step == pytest.approx(alone.seconds / alone.step)
    assert "vmap" not in text_of(CostEstimate((alone,), 1, "fake", 2**40))


def test_no_worker_is_done_before_its_longest_group() -> None:
    group = replace(shape(10.0, missing=4, share=0.5), vmap=4)
    assert CostEstimate((group,), 4, "4 processes", 2**40).seconds == (20.0, 40.0)


def test_the_table_fits_in_eighty_columns() -> None:
    text = text_of(CostEstimate((shape(10.0, missing=4, share=0.5), shape(100.0)), 1, "2 processes", 2**40))
    assert max(map(len, text.splitlines())) <= 80
    assert "8 runs, 3 already done, 5 to run; 2 processes." in text
    words = " ".join(text.split())
    assert "About 2:00 min if runs stop as early as expected; at most 2:20 min. Steps were timed" in words
    assert "Will not fit" not in text


def test_a_shape_that_does_not_fit_into_memory_is_named() -> None:
    estimate = CostEstimate((shape(1.0, memory=2**30), shape(1.0, memory=3 * 2**30)), 1, "here", 2**31)
    assert estimate.too_large == [estimate.shapes[1]]
    words = " ".join(text_of(estimate).split())
    assert "not fit into memory: copy symbols=2 · softmax needs 3,072 MB; 2,048 MB are available." in words
