"""Stacked lanes give what each run gives alone: step by step, whoever ends, whatever differs among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.errors import InterruptedTraining
from attnlab.position import POSITIONS
from attnlab.records import Record
from attnlab.specs import Part, RunSpec
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.streams import Source
from attnlab.training.events import Event, Validated
from attnlab.training.run import train_runs
from attnlab.training.stepper import Arrays, SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import COPY, EASY, Memory, interrupt_at, tiny

CPU = torch.device("cpu")
VARIANTS = ["softmax", "expressive", "dape", "gpam", "linear", "performer", "delta", "window", "sea", "easy"]
LONG = COPY.model_copy(update={"options": {"symbols": 40, "alphabet": 4}})
MIXED = COPY.model_copy(update={"options": {"symbols": 6, "alphabet": 4}, "train": {"symbols": "1..6"}})
SCALES = (0.5, 1.0, 3.0)
PLANS: list[dict[str, Any]] = [
    {"lr": 1e-3, "decay": 0.0, "clip": None},
    {"lr": 2e-2, "decay": 0.3, "clip": 0.05},
    {"lr": 5e-3, "decay": 0.1, "clip": 1.0},
]
LOST: dict[str, Any] = {"lr": 3e4, "clip": None}
"""A rate at which any run explodes."""


@pytest.fixture
def exactly() -> Iterator[None]:
    """Models in float64: what differs then differs by more than rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def lanes_of(attention: str = "softmax", position: str = "learned", **more: Any) -> list[RunSpec]:
    """Three runs of one shape that differ in all that lanes may differ in."""
    specs = [tiny(attention, position, seed=seed, **{**plan, **more}) for seed, plan in enumerate(PLANS)]
    scaled = [spec.model.model_copy(update={"init_scale": scale}) for spec, scale in zip(specs, SCALES, strict=True)]
    return [spec.model_copy(update={"model": model}) for spec, model in zip(specs, scaled, strict=True)]


class Side:
    """VmapWidth, and the same runs alone beside them."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self.specs, self.sources = specs, [Source(spec.task, spec.seed) for spec in specs]
        self.lanes = VmapStepper(specs, self.sources, CPU)
        self.solos = [SingleStepper(spec, source, CPU) for spec, source in zip(specs, self.sources, strict=True)]
        self.taken = 0

    def step(self, count: int = 1, running: Sequence[int] = (0, 1, 2)) -> None:
        for _ in range(count):
            batches = {lane: self.sources[lane].training(self.taken, 4) for lane in running}
            rates = {lane: self.specs[lane].train.lr / (self.taken + 1) for lane in running}
            self.lanes.step(batches, rates)
            for lane in running:
                self.solos[lane].step({0: batches[lane]}, {0: rates[lane]})
            self.taken += 1

    def held_out(self, lane: int) -> list[Batch]:
        return self.sources[lane].held_out(Split.VALIDATION, 10, 4)

    def agree(self, rtol: float = 1e-9) -> None:
        """Losses, weights and answers are the same."""
        losses = self.lanes.losses()
        for lane, solo in enumerate(self.solos):
            assert losses[lane] == pytest.approx(solo.losses()[0], rel=rtol)
            model, expected = self.lanes.alone(lane).state_dict(), solo.model.state_dict()
            assert model.keys() == expected.keys()
            for name, stored in expected.items():
                torch.testing.assert_close(model[name], stored, rtol=rtol, atol=rtol)
            predictions, answers = self.lanes.predict(lane, self.held_out(lane)), solo.predict(0, self.held_out(lane))
            for one, other in zip(predictions, answers, strict=True):
                assert one.loss_sum == pytest.approx(other.loss_sum, rel=rtol)
                assert np.array_equal(one.tokens_N, other.tokens_N)

    def together(self, running: Sequence[int] = (0, 1, 2)) -> None:
        """VmapWidth answer together what they answer alone."""
        batches = {lane: self.held_out(lane) for lane in running}
        for lane, predictions in self.lanes.predict_each(batches).items():
            for one, other in zip(predictions, self.solos[lane].predict(0, batches[lane]), strict=True):
                assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-9)
                assert np.array_equal(one.tokens_N, other.tokens_N)


# -- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("attention", VARIANTS)
def test_lanes_take_the_steps_of_their_runs(attention: str) -> None:
    side = Side(lanes_of(attention))
    assert side.lanes.parameters == side.solos[0].parameters
    side.step(4)
    side.agree()
    side.together()


@pytest.mark.usefixtures("exactly")
def test_what_one_lane_answers_leaves_the_others_as_they_were() -> None:
    side = Side(lanes_of("performer"))
    side.step(1)
    for lane in (1, 2, 0):
        (predictions, *_), (expected, *_) = (
            one.predict(at, side.held_out(lane)) for one, at in ((side.lanes, lane), (side.solos[lane], 0))
        )
        assert predictions.loss_sum == pytest.approx(expected.loss_sum, rel=1e-9)
    side.step(1, (0, 2))
    side.lanes.losses()
    assert side.lanes.predict(0, side.held_out(0))[0].loss_sum == pytest.approx(
        side.solos[0].predict(0, side.held_out(0))[0].loss_sum, rel=1e-9
    )


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("position", sorted(entry.name for entry in POSITIONS))
def test_every_position_can_be_stacked(position: str) -> None:
    side = Side(lanes_of(position=position))
    side.step(2)
    side.agree()
    side.together()


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("attention", ["delta", "linear", "native-sparse"])
def test_scans_and_sparse_paths_of_long_sequences_can_be_stacked(attention: str) -> None:
    side = Side(lanes_of(attention, task=LONG))
    side.step(2)
    side.agree()


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize(
    ("attention", "position"), [("softmax", "rotary"), ("dape", "fire"), ("sea", "none"), ("softmax", "randomized")]
)
def test_batches_of_the_lanes_may_differ_in_length(attention: str, position: str) -> None:
    side = Side(lanes_of(attention, position, task=MIXED))
    lengths = [[source.training(step, 4).inputs_BT.shape[1] for source in side.sources] for step in range(4)]
    assert any(len(set(each)) > 1 for each in lengths)
    side.step(4)
    side.agree()


@pytest.mark.parametrize("attention", ["softmax", "expressive", "delta", "gpam"])
def test_in_single_precision_a_step_differs_by_rounding(attention: str) -> None:
    side = Side(lanes_of(attention))
    side.step()
    losses = side.lanes.losses()
    for lane, solo in enumerate(side.solos):
        assert losses[lane] == pytest.approx(solo.losses()[0], rel=1e-6)
        model, expected = side.lanes.alone(lane).state_dict(), solo.model.state_dict()
        for name in expected:
            torch.testing.assert_close(model[name], expected[name], rtol=1e-4, atol=2e-2 * PLANS[lane]["lr"])


@pytest.mark.usefixtures("exactly")
def test_what_is_fixed_stays_fixed() -> None:
    part = Part(name="gpam", options={"lambdas": "untied", "minus": 0.25})
    specs = [s.model_copy(update={"model": s.model.model_copy(update={"attention": (part,)})}) for s in lanes_of()]
    side = Side(specs)
    side.step(3)
    side.agree()
    stored = side.lanes.alone(1).state_dict()
    assert stored["blocks.0.attention.minus_H"].tolist() == [0.25, 0.25]


@pytest.mark.usefixtures("exactly")
def test_an_exploding_lane_leaves_the_others_alone() -> None:
    specs = [tiny(seed=0), tiny(seed=1, **LOST), tiny(seed=2)]
    specs[1] = specs[1].model_copy(update={"train": specs[1].train.model_copy(update={"lr": 1e200})})
    side = Side(specs)
    side.step(4)
    assert not np.isfinite(side.lanes.losses()[1]).all()
    for lane in (0, 2):
        model, expected = side.lanes.alone(lane).state_dict(), side.solos[lane].model.state_dict()
        for name in expected:
            torch.testing.assert_close(model[name], expected[name], rtol=1e-9, atol=1e-9)


# -- retirement ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("position", ["learned", "randomized"])
def test_a_lane_that_retires_is_kept_and_the_others_go_on(position: str) -> None:
    side = Side(lanes_of(position=position))
    side.step(2)
    side.step(1, running=[0, 2])
    side.together([0, 2])
    side.step(2, running=[2])
    side.agree()
    side.together([2])


def test_a_retired_lane_takes_no_memory_and_no_steps() -> None:
    side = Side(lanes_of())
    whole = side.lanes.block.weights_KP.untyped_storage().nbytes()
    side.step(1)
    side.step(1, running=[1])
    for block in (side.lanes.block.weights_KP, side.lanes.block.first_KP, side.lanes.block.second_KP):
        assert block.untyped_storage().nbytes() == whole / 3
    assert all(leaf.shape[0] == 1 for leaf in side.lanes.block.leaves.values())
    with pytest.raises(AssertionError, match="a retired lane takes no steps"):
        side.step(1, running=[0, 1])


# -- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["softmax", "dape", "gpam"])
@pytest.mark.parametrize("running", [(0, 1, 2), (0, 2)])
def test_a_restored_state_goes_on_to_the_last_bit(attention: str, running: tuple[int, ...]) -> None:
    one, other = Side(lanes_of(attention)), Side(lanes_of(attention))
    one.step(2)
    one.step(1, running)
    other.lanes.restore(one.lanes.state())
    other.taken = one.taken
    for side in (one, other):
        side.lanes.losses()
        side.step(3, running)
    assert one.lanes.losses() == other.lanes.losses()
    states = [one.lanes.state(), other.lanes.state()]
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    for lane in range(3):
        weights: list[Arrays] = [side.lanes.weights(lane) for side in (one, other)]
        assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_weights_have_the_names_of_a_run_alone() -> None:
    side = Side(lanes_of("dape"))
    side.step(1)
    side.step(1, running=[1, 2])
    for lane in range(3):
        ours, theirs = side.lanes.weights(lane), side.solos[lane].weights(0)
        assert {name: array.shape for name, array in ours.items()} == {name: a.shape for name, a in theirs.items()}


@pytest.mark.usefixtures("exactly")
def test_what_is_watched_is_what_the_run_alone_shows() -> None:
    side = Side(lanes_of())
    side.step(2)
    side.step(1, running=[0, 2])
    before = side.lanes.state()
    for lane, solo in enumerate(side.solos):
        batch = side.sources[lane].diagnostics_batch(4)
        result = side.lanes.diagnostics(lane, batch, ("rank", "gradients", "attention"))
        expected = solo.diagnostics(0, batch, ("rank", "gradients", "attention"))
        assert result.keys() == expected.keys()
        for name, values in expected.items():
            assert result[name] == pytest.approx(values, rel=1e-6, nan_ok=True)
    assert all(np.array_equal(before[name], array) for name, array in side.lanes.state().items())


# -- whole runs ------------------------------------------------------------------------------------------------------


def close(record: Record, alone: Record) -> None:
    """The same record, but for rounding."""
    ours, theirs = record.numbers(), alone.numbers()
    assert ours.keys() == theirs.keys()
    for name in ("id", "spec", "status", "steps", "early_stopped", "parameters", "length"):
        assert ours[name] == theirs[name]
    assert [point.step for point in record.history] == [point.step for point in alone.history]
    for one, other in zip(record.history, alone.history, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.02)
    assert record.loss == (None if alone.loss is None else pytest.approx(alone.loss, rel=1e-6))
    assert record.accuracy.total == alone.accuracy.total


@pytest.mark.usefixtures("exactly")
def test_lanes_give_the_records_of_their_runs() -> None:
    specs, checkpointer, events = lanes_of("gpam", log_diagnostics=("rank",)), Memory(), list[Event]()
    records = train_runs(specs, events.append, checkpointer=checkpointer, vmap=3)
    for record, spec in zip(records, specs, strict=True):
        close(record, train_runs([spec])[0])
        assert record.environment["lanes"] == 3
        assert [event.point for event in events if isinstance(event, Validated) and event.spec == spec] == list(
            record.history
        )
    assert checkpointer.finished.keys() == {spec.id for spec in specs}


@pytest.mark.usefixtures("exactly")
def test_lanes_stop_each_for_itself() -> None:
    solvable: dict[str, Any] = {"task": EASY, "steps": 120, "batch": 32, "validate_every": 10, "stop_at": 0.99}
    specs = [
        tiny(**solvable, lr=1e-5, seed=3),
        tiny(**solvable, lr=2e-2, seed=4),
        tiny(**solvable, **LOST, seed=5),
        tiny(**solvable, lr=1e-2, seed=6),
    ]
    records = train_runs(specs, vmap=4)
    ends = [(record.status, record.early_stopped) for record in records]
    assert ends == [("done", False), ("done", True), ("diverged", False), ("done", True)]
    assert records[1].steps < 120
    for index in (0, 1, 3):
        close(records[index], train_runs([specs[index]])[0])
    alone = train_runs([specs[2]])[0]
    assert (records[2].status, records[2].steps) == (alone.status, alone.steps)


def test_more_runs_than_lanes_follow_one_another() -> None:
    specs = [tiny(seed=seed, max_steps=4, eval_every=4) for seed in range(5)]
    records = train_runs(specs, vmap=2)
    assert [record.spec.seed for record in records] == [0, 1, 2, 3, 4]
    assert [record.environment["lanes"] for record in records] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("step", [5, 17])
def test_interrupted_lanes_go_on_to_the_same_numbers(step: int) -> None:
    specs = [tiny(seed=0, **LOST), tiny(seed=1), tiny(seed=2, lr=1e-2)]
    checkpointer, whole = Memory(), Memory()
    expected = train_runs(specs, checkpointer=whole, vmap=3)
    with pytest.raises(InterruptedTraining):
        train_runs(specs, interrupt_at(step), checkpointer=checkpointer, vmap=3)
    assert len(checkpointer.checkpoints) == 1
    records = train_runs(specs, checkpointer=checkpointer, resume=True, vmap=3)
    assert [record.numbers() for record in records] == [record.numbers() for record in expected]
    for spec in specs:
        ours, theirs = checkpointer.finished[spec.id], whole.finished[spec.id]
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in theirs)
