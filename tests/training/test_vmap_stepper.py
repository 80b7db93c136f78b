"""Vmapped runs give what each run gives alone: step by step, whichever run ends, whatever differs among them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.errors import InterruptedTraining
from attnlab.position import POSITIONS
from attnlab.records import Record
from attnlab.specs import Part, RunSpec, TaskSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.training.events import Event, Validated
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import COPY, EASY, MemoryCheckpointer, interrupt_at, tiny

CPU = torch.device("cpu")
VARIANTS = ["softmax", "expressive", "dape", "gpam", "linear", "performer", "delta", "window", "sea", "easy"]
LONG = COPY.model_copy(update={"options": {"symbols": 40, "alphabet": 4}})
MIXED = COPY.model_copy(update={"options": {"symbols": 6, "alphabet": 4}, "train": {"symbols": "1..6"}})
SCALES = (0.5, 1.0, 3.0)
PLANS: list[dict[str, Any]] = [
    {"lr": 1e-3, "weight_decay": 0.0, "grad_clip": None},
    {"lr": 2e-2, "weight_decay": 0.3, "grad_clip": 0.05},
    {"lr": 5e-3, "weight_decay": 0.1, "grad_clip": 1.0},
]
DIVERGING: dict[str, Any] = {"lr": 3e4, "grad_clip": None}
"""A learning rate at which any run diverges."""


def runs_of(attention: str = "softmax", position: str = "learned", **more: Any) -> list[RunSpec]:
    """Three runs of one shape that differ in everything in which stacked runs may differ."""
    specs = [tiny(attention, position, seed=seed, **{**plan, **more}) for seed, plan in enumerate(PLANS)]
    scaled = [spec.model.model_copy(update={"init_scale": scale}) for spec, scale in zip(specs, SCALES, strict=True)]
    return [spec.model_copy(update={"model": model}) for spec, model in zip(specs, scaled, strict=True)]


class Comparison:
    """Vmapped runs, and the same runs each alone."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self.specs, self.sources = specs, [Source(spec.task, spec.seed) for spec in specs]
        self.vmapped = VmapStepper(specs, self.sources, CPU)
        self.singles = [SingleStepper(spec, source, CPU) for spec, source in zip(specs, self.sources, strict=True)]
        self.steps = 0

    def step(self, count: int = 1, running: Sequence[int] = (0, 1, 2)) -> None:
        for _ in range(count):
            batches = {index: self.sources[index].training(self.steps, 4) for index in running}
            rates = {index: self.specs[index].train.lr / (self.steps + 1) for index in running}
            self.vmapped.step(batches, rates)
            for index in running:
                self.singles[index].step({0: batches[index]}, {0: rates[index]})
            self.steps += 1

    def held_out(self, index: int) -> list[Batch]:
        return self.sources[index].held_out(Split.VALIDATION, 10, 4)

    def check_equal(self, rtol: float = 1e-9) -> None:
        """Losses, weights and predictions are the same."""
        losses = self.vmapped.losses()
        singles = {index: self.singles[index].gradient_norms() for index in self.vmapped.runs}
        norms = {index: norm for index, own in singles.items() for norm in own.values()}
        assert self.vmapped.gradient_norms() == pytest.approx(norms, rel=rtol)
        for index, single in enumerate(self.singles):
            assert losses[index] == pytest.approx(single.losses()[0], rel=rtol)
            model, expected = self.vmapped.model_of(index).state_dict(), single.model.state_dict()
            assert model.keys() == expected.keys()
            for name, tensor in expected.items():
                torch.testing.assert_close(model[name], tensor, rtol=rtol, atol=rtol)
            batches = self.held_out(index)
            predictions, expected_predictions = self.vmapped.predict(index, batches), single.predict(0, batches)
            for one, other in zip(predictions, expected_predictions, strict=True):
                assert one.loss_sum == pytest.approx(other.loss_sum, rel=rtol)
                assert np.array_equal(one.tokens_N, other.tokens_N)

    def check_stacked_predictions(self, running: Sequence[int] = (0, 1, 2)) -> None:
        """Predictions of stacked runs equal those of each run alone."""
        batches = {index: self.held_out(index) for index in running}
        for index, predictions in self.vmapped.predict_each(batches).items():
            for one, other in zip(predictions, self.singles[index].predict(0, batches[index]), strict=True):
                assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-9)
                assert np.array_equal(one.tokens_N, other.tokens_N)


# -- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("attention", VARIANTS)
def test_vmapped_runs_take_the_steps_of_single_runs(attention: str) -> None:
    pair = Comparison(runs_of(attention))
    assert pair.vmapped.parameters == pair.singles[0].parameters
    pair.step(4)
    pair.check_equal()
    pair.check_stacked_predictions()


@pytest.mark.usefixtures("double_precision")
def test_predictions_of_one_run_do_not_change_the_others() -> None:
    pair = Comparison(runs_of("performer"))
    pair.step(1)
    for index in (1, 2, 0):
        (predictions, *_), (expected, *_) = (
            one.predict(own, pair.held_out(index)) for one, own in ((pair.vmapped, index), (pair.singles[index], 0))
        )
        assert predictions.loss_sum == pytest.approx(expected.loss_sum, rel=1e-9)
    pair.step(1, (0, 2))
    pair.vmapped.losses()
    assert pair.vmapped.predict(0, pair.held_out(0))[0].loss_sum == pytest.approx(
        pair.singles[0].predict(0, pair.held_out(0))[0].loss_sum, rel=1e-9
    )


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("position", sorted(entry.name for entry in POSITIONS))
def test_every_position_can_be_stacked(position: str) -> None:
    pair = Comparison(runs_of(position=position))
    pair.step(2)
    pair.check_equal()
    pair.check_stacked_predictions()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("attention", ["delta", "linear", "native-sparse"])
def test_scans_and_sparse_paths_of_long_sequences_can_be_stacked(attention: str) -> None:
    pair = Comparison(runs_of(attention, task=LONG))
    pair.step(2)
    pair.check_equal()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("attention", "position"), [("softmax", "rotary"), ("dape", "fire"), ("sea", "none"), ("softmax", "randomized")]
)
def test_batches_of_vmapped_runs_may_differ_in_length(attention: str, position: str) -> None:
    pair = Comparison(runs_of(attention, position, task=MIXED))
    lengths = [[source.training(step, 4).inputs_BT.shape[1] for source in pair.sources] for step in range(4)]
    assert any(len(set(each)) > 1 for each in lengths)
    pair.step(4)
    pair.check_equal()


@pytest.mark.parametrize("attention", ["softmax", "expressive", "delta", "gpam"])
def test_in_single_precision_a_step_differs_by_rounding(attention: str) -> None:
    pair = Comparison(runs_of(attention))
    pair.step()
    losses = pair.vmapped.losses()
    for index, single in enumerate(pair.singles):
        assert losses[index] == pytest.approx(single.losses()[0], rel=1e-6)
        model, expected = pair.vmapped.model_of(index).state_dict(), single.model.state_dict()
        for name in expected:
            torch.testing.assert_close(model[name], expected[name], rtol=1e-4, atol=2e-2 * PLANS[index]["lr"])


@pytest.mark.usefixtures("double_precision")
def test_fixed_parameters_do_not_change() -> None:
    part = Part(name="gpam", options={"lambdas": "untied", "minus": 0.25})
    specs = [s.model_copy(update={"model": s.model.model_copy(update={"attention": (part,)})}) for s in runs_of()]
    pair = Comparison(specs)
    pair.step(3)
    pair.check_equal()
    state = pair.vmapped.model_of(1).state_dict()
    assert state["blocks.0.attention.minus_H"].tolist() == [0.25, 0.25]


@pytest.mark.usefixtures("double_precision")
def test_a_diverging_run_does_not_change_the_others() -> None:
    specs = [tiny(seed=0), tiny(seed=1, **DIVERGING), tiny(seed=2)]
    specs[1] = specs[1].model_copy(update={"train": specs[1].train.model_copy(update={"lr": 1e200})})
    pair = Comparison(specs)
    pair.step(4)
    assert not np.isfinite(pair.vmapped.losses()[1]).all()
    for index in (0, 2):
        model, expected = pair.vmapped.model_of(index).state_dict(), pair.singles[index].model.state_dict()
        for name in expected:
            torch.testing.assert_close(model[name], expected[name], rtol=1e-9, atol=1e-9)


# -- runs that end --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("position", ["learned", "randomized"])
def test_a_run_that_ends_keeps_its_weights_and_the_others_continue(position: str) -> None:
    pair = Comparison(runs_of(position=position))
    pair.step(2)
    pair.step(1, running=[0, 2])
    pair.check_stacked_predictions([0, 2])
    pair.step(2, running=[2])
    pair.check_equal()
    pair.check_stacked_predictions([2])


def test_a_run_that_has_ended_takes_no_memory_and_no_steps() -> None:
    pair = Comparison(runs_of())
    all_bytes = pair.vmapped.optimizer.weights_KP.untyped_storage().nbytes()
    pair.step(1)
    pair.step(1, running=[1])
    for block in (pair.vmapped.optimizer.weights_KP, pair.vmapped.optimizer.first_KP, pair.vmapped.optimizer.second_KP):
        assert block.untyped_storage().nbytes() == all_bytes / 3
    assert all(leaf.shape[0] == 1 for leaf in pair.vmapped.optimizer.leaves.values())
    with pytest.raises(AssertionError, match="a run that has ended takes no steps"):
        pair.step(1, running=[0, 1])


# -- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["softmax", "dape", "gpam"])
@pytest.mark.parametrize("running", [(0, 1, 2), (0, 2)])
def test_a_restored_state_continues_bit_for_bit(attention: str, running: tuple[int, ...]) -> None:
    one, other = Comparison(runs_of(attention)), Comparison(runs_of(attention))
    one.step(2)
    one.step(1, running)
    for index in range(3):
        other.vmapped.restore(index, one.vmapped.state(index))
    other.steps = one.steps
    for pair in (one, other):
        pair.vmapped.losses()
        pair.step(3, running)
    assert one.vmapped.losses() == other.vmapped.losses()
    for index in range(3):
        states: list[Arrays] = [pair.vmapped.state(index) for pair in (one, other)]
        assert states[0].keys() == states[1].keys()
        assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
        weights: list[Arrays] = [pair.vmapped.weights(index) for pair in (one, other)]
        assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_weights_have_the_names_of_a_single_run() -> None:
    pair = Comparison(runs_of("dape"))
    pair.step(1)
    pair.step(1, running=[1, 2])
    for index in range(3):
        ours, theirs = pair.vmapped.weights(index), pair.singles[index].weights(0)
        assert {name: array.shape for name, array in ours.items()} == {name: a.shape for name, a in theirs.items()}


@pytest.mark.usefixtures("double_precision")
def test_diagnostics_equal_those_of_a_single_run() -> None:
    pair = Comparison(runs_of())
    pair.step(2)
    pair.step(1, running=[0, 2])
    before = [pair.vmapped.state(index) for index in range(3)]
    for index, single in enumerate(pair.singles):
        batch = pair.sources[index].diagnostics_batch(4)
        values = pair.vmapped.diagnostics(index, batch, ("rank", "gradients", "attention"))
        expected = single.diagnostics(0, batch, ("rank", "gradients", "attention"))
        assert values.keys() == expected.keys()
        for name, layers in expected.items():
            assert values[name] == pytest.approx(layers, rel=1e-6, nan_ok=True)
    for index, state in enumerate(before):
        assert all(np.array_equal(state[name], array) for name, array in pair.vmapped.state(index).items())


# -- whole runs ------------------------------------------------------------------------------------------------------


def check_close(record: Record, single: Record) -> None:
    """The records are the same except for rounding."""
    ours, theirs = record.numbers(), single.numbers()
    assert ours.keys() == theirs.keys()
    for name in ("id", "spec", "status", "steps", "early_stopped", "parameters", "length"):
        assert ours[name] == theirs[name]
    assert [point.step for point in record.history] == [point.step for point in single.history]
    for one, other in zip(record.history, single.history, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.02)
    assert record.loss == (None if single.loss is None else pytest.approx(single.loss, rel=1e-6))
    assert record.accuracy.total == single.accuracy.total


@pytest.mark.usefixtures("double_precision")
def test_vmapped_runs_give_the_records_of_single_runs() -> None:
    specs, checkpointer, events = runs_of("gpam", log_diagnostics=("rank",)), MemoryCheckpointer(), list[Event]()
    records = train_runs(specs, events.append, checkpointer=checkpointer, vmap=3)
    for record, spec in zip(records, specs, strict=True):
        check_close(record, train_runs([spec])[0])
        assert record.environment["vmap"] == 3
        assert [event.point for event in events if isinstance(event, Validated) and event.spec == spec] == list(
            record.history
        )
    assert checkpointer.finished.keys() == {spec.id for spec in specs}


@pytest.mark.usefixtures("double_precision")
def test_each_vmapped_run_stops_by_itself() -> None:
    solvable: dict[str, Any] = {
        "task": EASY,
        "max_steps": 120,
        "batch_size": 32,
        "eval_every": 10,
        "early_stop_accuracy": 0.99,
    }
    specs = [
        tiny(**solvable, lr=1e-5, seed=3),
        tiny(**solvable, lr=2e-2, seed=4),
        tiny(**solvable, **DIVERGING, seed=5),
        tiny(**solvable, lr=1e-2, seed=6),
    ]
    records = train_runs(specs, vmap=4)
    ends = [(record.status, record.early_stopped) for record in records]
    assert ends == [("done", False), ("done", True), ("diverged", False), ("done", True)]
    assert records[1].steps < 120
    for index in (0, 1, 3):
        check_close(records[index], train_runs([specs[index]])[0])
    single = train_runs([specs[2]])[0]
    assert (records[2].status, records[2].steps) == (single.status, single.steps)


def test_more_runs_than_the_width_are_trained_in_turn() -> None:
    specs = [tiny(seed=seed, max_steps=4, eval_every=4) for seed in range(5)]
    records = train_runs(specs, vmap=2)
    assert [record.spec.seed for record in records] == [0, 1, 2, 3, 4]
    assert [record.environment["vmap"] for record in records] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("step", [5, 17])
def test_interrupted_vmapped_runs_resume_to_the_same_numbers(step: int) -> None:
    specs = [tiny(seed=0, **DIVERGING), tiny(seed=1), tiny(seed=2, lr=1e-2)]
    checkpointer, uninterrupted = MemoryCheckpointer(), MemoryCheckpointer()
    expected = train_runs(specs, checkpointer=uninterrupted, vmap=3)
    with pytest.raises(InterruptedTraining):
        train_runs(specs, interrupt_at(step), checkpointer=checkpointer, vmap=3)
    assert list(checkpointer.checkpoints) == [spec.id for spec in specs]
    records = train_runs(specs, checkpointer=checkpointer, resume=True, vmap=3)
    assert [record.numbers() for record in records] == [record.numbers() for record in expected]
    for spec in specs:
        ours, theirs = checkpointer.finished[spec.id], uninterrupted.finished[spec.id]
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in theirs)


# -- rows of several lengths -----------------------------------------------------------------------------------------


def file_of_lengths(path: Path, lengths: list[int]) -> TaskSpec:
    """A file whose rows have these lengths, with a target at every second position."""
    random = np.random.default_rng(0)
    rows = [random.integers(0, 5, length).tolist() for length in lengths]
    records = [{"inputs": row, "targets": [None if i % 2 else token for i, token in enumerate(row)]} for row in rows]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return task_spec(find_ladder("file"), {"path": str(path), "shift": False}, None)


LONG_ROW = [5, 7, 16, 12] * 20 + [30] * 8 + [70] * 2


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("position", ["learned", "rotary", "randomized"])
def test_runs_on_rows_of_several_lengths_are_stacked(position: str, tmp_path: Path) -> None:
    pair = Comparison(runs_of(position=position, task=file_of_lengths(tmp_path / "a.jsonl", LONG_ROW)))
    shapes = {pair.sources[run].training(step, 4).inputs_BT.shape for run in range(3) for step in range(12)}
    assert {(4, 16), (4, 30)} <= shapes
    pair.step(12)
    pair.check_equal()
    pair.check_stacked_predictions()


def test_a_long_batch_does_not_pad_those_of_the_other_runs(tmp_path: Path) -> None:
    task = file_of_lengths(tmp_path / "a.jsonl", [12] * 40 + [1500])
    specs = [tiny(task=task, seed=seed) for seed in range(3)]
    stepper = VmapStepper(specs, [Source(task, seed) for seed in range(3)], CPU)
    short, long = (Batch(np.ones(shape, np.int64), np.ones(shape, np.int64)) for shape in ((8, 12), (1, 1500)))
    assert stepper._groups({0: short, 1: long, 2: short}) == [[0, 2], [1]]
    assert stepper._groups({0: short, 1: short, 2: short}) == [[0, 1, 2]]


@pytest.mark.usefixtures("double_precision")
def test_runs_with_held_out_sets_of_different_sizes_are_evaluated(tmp_path: Path) -> None:
    tasks = [file_of_lengths(tmp_path / f"{count}.jsonl", [9] * count) for count in (30, 60, 120)]
    specs = [spec.model_copy(update={"task": task}) for spec, task in zip(runs_of(), tasks, strict=True)]
    pair = Comparison(specs)
    pair.step(1)
    assert [sum(len(b.inputs_BT) for b in pair.held_out(index)) for index in range(3)] == [3, 6, 10]
    pair.check_stacked_predictions()
