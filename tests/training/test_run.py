"""Whole runs: equal specs give equal numbers, whatever interrupts them and whichever runs are trained beside them."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.choices import DiagnosticsKind
from attnlab.errors import InterruptedTraining
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks import IGNORE, Batch, Split, Task
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, build, generator
from attnlab.training.events import Event, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.loop import CONFIRMING, Loop, score_predictions
from attnlab.training.run import train_runs
from attnlab.training.scoring import Scored
from attnlab.training.stepper import Predictions, SingleStepper
from tests.training.runs import EASY, Crash, MemoryCheckpointer, crash_when, interrupt_at, tiny

NEVER = math.inf
CPU = torch.device("cpu")
DIVERGING: dict[str, Any] = {"lr": 3e4, "schedule": "constant", "warmup_ratio": 0.0, "grad_clip": None}
"""A learning rate at which any run diverges."""


def numbers(spec: RunSpec, **options: Any) -> tuple[dict[str, Any], Arrays]:
    """The record of a run without its environment, and its weights."""
    checkpointer = MemoryCheckpointer()
    (record,) = train_runs([spec], checkpointer=checkpointer, **options)
    return record.numbers(), checkpointer.finished[spec.id]


def identical(one: tuple[dict[str, Any], Arrays], other: tuple[dict[str, Any], Arrays]) -> bool:
    """Whether records are equal, and weights bit for bit."""
    equal = all(np.array_equal(one[1][name], other[1][name], equal_nan=True) for name in one[1])
    return one[0] == other[0] and one[1].keys() == other[1].keys() and equal


@pytest.mark.parametrize("attention", ["softmax", "expressive", "dape", "gpam"])
def test_a_spec_run_twice_gives_identical_numbers(attention: str) -> None:
    spec = tiny(attention)
    assert identical(numbers(spec), numbers(spec))


def test_a_record_has_the_loss_of_the_first_step_and_the_size_of_the_vocabulary() -> None:
    each, (whole,) = tiny(eval_every=1), train_runs([tiny()])
    (record,) = train_runs([each])
    assert whole.initial_loss == record.initial_loss == record.history[0].loss != whole.history[0].loss
    assert whole.vocabulary == Source(each.task, each.seed).vocabulary


def test_another_seed_gives_other_numbers() -> None:
    one, other = numbers(tiny(seed=0)), numbers(tiny(seed=1))
    assert one[0]["history"] != other[0]["history"]
    assert not np.array_equal(one[1]["embedding_VD"], other[1]["embedding_VD"])


def test_a_run_does_not_depend_on_its_neighbors() -> None:
    specs = [tiny(seed=seed) for seed in range(3)]
    together = [record.numbers() for record in train_runs(specs)]
    alone = [train_runs([spec])[0].numbers() for spec in specs]
    assert together == alone
    assert together[1]["history"] != together[2]["history"]


def test_global_random_generators_have_no_effect() -> None:
    before = numbers(tiny())
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.random.get_rng_state()
    assert identical(numbers(tiny()), before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_record_and_the_events_agree_with_the_run() -> None:
    spec = tiny()
    checkpointer, events = MemoryCheckpointer(), list[Event]()
    (record,) = train_runs([spec], events.append, checkpointer=checkpointer)
    assert (record.id, record.spec, record.status, record.reason) == (spec.id, spec, "done", "")
    assert (record.steps, record.early_stopped) == (24, False)
    assert [point.step for point in record.history] == [8, 16, 24]
    task = build(spec.task)
    assert (record.accuracy.total, record.accuracy.chance) == (20 * 2, task.chance)
    assert (record.exact_match.total, record.exact_match.chance) == (20, task.exact_match_chance)
    assert record.environment["vmap"] == 1
    assert record.environment["device"] == "cpu"
    assert record.environment["seconds"] > 0
    assert events[0] == RunStarted(spec, 0, record.parameters, "cpu")
    assert events[-1] == RunFinished(record)
    assert [event.point for event in events if isinstance(event, Validated)] == list(record.history)
    stepped = [event for event in events if isinstance(event, StepsTaken)]
    assert [event.step for event in stepped] == [8, 10, 16, 20, 24]
    assert sum(event.tokens for event in stepped) == 24 * 8 * 4
    assert all(event.gradient_norm is not None and event.gradient_norm > 0 for event in stepped)


def evaluated(stepper: SingleStepper, batches: list[Batch]) -> Scored:
    return score_predictions(batches, stepper.predict(0, batches), build(tiny().task))


def test_the_record_agrees_with_the_predictions_of_its_weights() -> None:
    spec = tiny()
    record, weights = numbers(spec)
    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, CPU)
    stepper.restore(0, {f"weight/{name}": array for name, array in weights.items()})
    batches = source.held_out(Split.TEST, 20, 8)
    accuracy, exact_match, loss, _ = evaluated(stepper, batches)
    assert loss == record["loss"]
    assert accuracy.model_dump() == record["accuracy"]
    assert exact_match.model_dump() == record["exact_match"]
    batches = source.held_out(Split.VALIDATION, 12, 8)
    assert evaluated(stepper, batches).accuracy.mean == record["history"][-1]["accuracy"]


def test_losses_of_the_history_are_means_since_the_last_validation() -> None:
    spec, source = tiny(), Source(tiny().task, 0)
    stepper = SingleStepper(spec, source, CPU)
    (record,) = train_runs([spec])
    for index, point in enumerate(record.history):
        for step in range(8 * index, 8 * index + 8):
            stepper.step({0: source.training(step, 8)}, {0: expected_rate(spec, step)})
        assert point.loss == float(np.mean(stepper.losses()[0]))


def expected_rate(spec: RunSpec, step: int) -> float:
    warmup = round(0.05 * 24)
    if step < warmup:
        return spec.train.lr * (step + 1) / warmup
    cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (24 - warmup)))
    return spec.train.lr * (0.1 + (1 - 0.1) * cosine)


# -- interruption and crashes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["softmax", "expressive", "dape", "gpam"])
@pytest.mark.parametrize(("step", "reached"), [(1, 2), (10, 10), (17, 18)])
def test_an_interrupted_run_resumes_to_the_same_numbers(attention: str, step: int, reached: int) -> None:
    spec, checkpointer = tiny(attention), MemoryCheckpointer()
    with pytest.raises(InterruptedTraining) as caught:
        train_runs([spec], interrupt_at(step), checkpointer=checkpointer, checkpoint_seconds=0)
    assert str(caught.value) == (
        f"  Interrupted at step {reached} of 24.\n  The checkpoint is kept; add --resume to go on from it."
    )
    assert checkpointer.finished == {}
    events = list[Event]()
    (record,) = train_runs([spec], events.append, checkpointer=checkpointer, resume=True)
    assert isinstance(events[0], RunStarted)
    assert events[0].step == reached
    assert identical((record.numbers(), checkpointer.finished[spec.id]), numbers(spec))


def test_sigterm_is_an_interruption_too() -> None:
    checkpointer = MemoryCheckpointer()
    with pytest.raises(InterruptedTraining, match=r"Interrupted at step 8 of 24\."):
        train_runs([tiny()], interrupt_at(8, signal.SIGTERM), checkpointer=checkpointer, checkpoint_seconds=NEVER)
    assert checkpointer.saves == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_from_outside_interrupts() -> None:
    def callback(event: Event) -> None:
        if isinstance(event, Validated):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedTraining, match=r"Interrupted at step 8 of 24\."):
        train_runs([tiny()], callback, checkpointer=MemoryCheckpointer())


def test_without_a_checkpointer_the_error_says_that_nothing_is_saved() -> None:
    with pytest.raises(InterruptedTraining) as caught:
        train_runs([tiny()], interrupt_at(8))
    assert str(caught.value) == "  Interrupted at step 8 of 24.\n  Nothing was saved, because no store was given."


def test_a_run_interrupted_several_times_resumes_to_the_same_numbers() -> None:
    spec, checkpointer, interruptions = tiny(), MemoryCheckpointer(), 0
    for step in (3, 7, 8, 13, 20, 22):
        with pytest.raises(InterruptedTraining):
            train_runs([spec], interrupt_at(step), checkpointer=checkpointer, resume=True, checkpoint_seconds=0)
        interruptions += 1
    (record,) = train_runs([spec], checkpointer=checkpointer, resume=True)
    assert identical((record.numbers(), checkpointer.finished[spec.id]), numbers(spec))
    assert interruptions == 6


@pytest.mark.parametrize(
    "condition",
    [
        lambda event: isinstance(event, StepsTaken) and event.step >= 5,
        lambda event: isinstance(event, Validated) and event.point.step == 16,
        lambda event: isinstance(event, StepsTaken) and event.step >= 24,
    ],
    ids=["in a step", "after a validation", "in the last step"],
)
def test_a_crashed_run_resumes_from_its_last_checkpoint(condition: Callable[[Event], bool]) -> None:
    spec, checkpointer = tiny("gpam"), MemoryCheckpointer()
    with pytest.raises(Crash):
        train_runs([spec], crash_when(condition), checkpointer=checkpointer, checkpoint_seconds=0)
    assert list(checkpointer.checkpoints) == [spec.id]
    (record,) = train_runs([spec], checkpointer=checkpointer, resume=True)
    assert identical((record.numbers(), checkpointer.finished[spec.id]), numbers(spec))


def test_resuming_without_a_checkpoint_starts_from_the_beginning() -> None:
    assert identical(numbers(tiny(), resume=True), numbers(tiny()))


def test_without_resume_a_checkpoint_is_ignored() -> None:
    spec, checkpointer, events = tiny(), MemoryCheckpointer(), list[Event]()
    with pytest.raises(InterruptedTraining):
        train_runs([spec], interrupt_at(8), checkpointer=checkpointer)
    train_runs([spec], events.append, checkpointer=checkpointer)
    assert isinstance(events[0], RunStarted)
    assert events[0].step == 0


def test_checkpoints_are_as_frequent_as_configured() -> None:
    often, seldom = MemoryCheckpointer(), MemoryCheckpointer()
    train_runs([tiny()], checkpointer=often, checkpoint_seconds=0)
    train_runs([tiny()], checkpointer=seldom, checkpoint_seconds=NEVER)
    assert (often.saves, seldom.saves) == (24, 0)


def test_final_weights_are_saved_by_id() -> None:
    specs, checkpointer = [tiny(seed=seed) for seed in (0, 1)], MemoryCheckpointer()
    records = train_runs(specs, checkpointer=checkpointer, checkpoint_seconds=0)
    assert set(checkpointer.finished) == {record.id for record in records}
    for record in records:
        assert sum(array.size for array in checkpointer.finished[record.id].values()) == record.parameters


# -- ends ------------------------------------------------------------------------------------------------------------


def test_a_solved_run_stops() -> None:
    spec = tiny(task=EASY, max_steps=400, batch_size=32, lr=2e-2, eval_every=10, early_stop_accuracy=0.99)
    (record,) = train_runs([spec])
    assert (record.status, record.early_stopped, record.solved) == ("done", True, True)
    assert record.steps < 400
    assert record.steps == record.history[-1].step
    assert [point.accuracy >= 0.99 for point in record.history] == [False] * (len(record.history) - 1) + [True]


@pytest.mark.parametrize(
    ("batch_size", "indices", "size"), [(8, range(2, 10), 8), (64, range(1, 2), 64)], ids=["small", "large"]
)
def test_a_run_that_more_sequences_do_not_confirm_goes_on(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, indices: range, size: int
) -> None:
    spec = tiny(max_steps=40, eval_every=8, validation_examples=16, batch_size=batch_size, early_stop_accuracy=0.5)
    sizes: list[int] = []
    confirming: list[Any] = []

    def lucky(batches: Sequence[Batch], predictions: Sequence[Predictions], task: Task, *more: Any) -> Scored:
        scored = score_predictions(batches, predictions, task, *more)
        sizes.append(sum(len(batch.inputs_BT) for batch in batches))
        if sizes[-1] == CONFIRMING * 16:
            confirming.append(np.concatenate([batch.inputs_BT for batch in batches]))
        if sizes[-1] not in (16, CONFIRMING * 16):
            return scored  # of the test
        right = 1.0 if sizes[-1] == 16 or len(sizes) > 4 else 0.0
        accuracy = scored.accuracy
        return scored._replace(accuracy=accuracy.model_copy(update={"correct": round(right * accuracy.total)}))

    monkeypatch.setattr("attnlab.training.loop.score_predictions", lucky)
    (record,) = train_runs([spec])
    assert (record.steps, record.early_stopped) == (24, True)
    assert sizes[:6] == [16, CONFIRMING * 16] * 3  # the test follows
    task = build(spec.task)  # the batches before are those that are validated on
    further = [task.sample(generator(spec.seed, Split.VALIDATION, index), size).inputs_BT for index in indices]
    assert all(np.array_equal(one, np.concatenate(further)) for one in confirming)


def test_a_finite_split_without_further_sequences_needs_no_confirmation(tmp_path: Path) -> None:
    rows = [{"inputs": [index % 2] * 2, "targets": [IGNORE, index % 2]} for index in range(40)]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = task_spec(find_ladder("file"), {"path": str(path), "shift": False}, None)
    spec = tiny(task=task, max_steps=400, lr=2e-2, eval_every=10, validation_examples=64, early_stop_accuracy=1.0)
    (record,) = train_runs([spec])
    assert (record.early_stopped, record.history[-1].accuracy) == (True, 1.0)


def test_a_run_solved_at_its_last_step_did_not_stop_early() -> None:
    spec = tiny(max_steps=8, early_stop_accuracy=0.0)
    (record,) = train_runs([spec])
    assert (record.steps, record.early_stopped) == (8, False)


def test_a_run_with_a_large_loss_is_recorded_as_diverged() -> None:
    events = list[Event]()
    (record,) = train_runs([tiny(**DIVERGING)], events.append)
    assert record.status == "diverged"
    assert not record.solved
    assert 1 < record.steps <= 10
    assert record.reason.startswith("the loss was ")
    assert record.reason.endswith(f" at step {record.steps}")
    assert len(record.history) <= 1
    assert isinstance(events[-1], RunFinished)


def test_a_nan_loss_ends_the_run() -> None:
    (record,) = train_runs([tiny(lr=1e38, warmup_ratio=0.0, grad_clip=None, weight_decay=0.0)])
    assert record.status == "diverged"
    assert record.reason == f"the loss was nan at step {record.steps}"


def test_the_time_of_checkpoints_does_not_change_the_numbers_of_a_diverged_run() -> None:
    spec = tiny(**DIVERGING)
    assert identical(numbers(spec, checkpoint_seconds=0), numbers(spec, checkpoint_seconds=NEVER))


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_diverged_run_interrupted_and_resumed_diverges_the_same_way(step: int) -> None:
    spec, checkpointer = tiny(**DIVERGING), MemoryCheckpointer()
    with pytest.raises(InterruptedTraining):
        train_runs([spec], interrupt_at(step), checkpointer=checkpointer, checkpoint_seconds=0)
    (record,) = train_runs([spec], checkpointer=checkpointer, resume=True)
    assert identical((record.numbers(), checkpointer.finished[spec.id]), numbers(spec))


# -- groups ----------------------------------------------------------------------------------------------------------


class ParallelSteppers:
    """Single steppers under the protocol of one stepper."""

    compiled = False

    def __init__(self, specs: Sequence[RunSpec], sources: Sequence[Source]) -> None:
        self.steppers = [SingleStepper(spec, source, CPU) for spec, source in zip(specs, sources, strict=True)]
        self.parameters = self.steppers[0].parameters
        self.steps = [0] * len(self.steppers)

    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        assert batches.keys() == rates.keys()
        for index, batch in batches.items():
            self.steps[index] += 1
            self.steppers[index].step({0: batch}, {0: rates[index]})

    def gradient_norms(self) -> dict[int, float]:
        return {index: norm for index, one in enumerate(self.steppers) for norm in one.gradient_norms().values()}

    def losses(self) -> dict[int, list[float]]:
        return {index: stepper.losses()[0] for index, stepper in enumerate(self.steppers)}

    def predict(self, index: int, batches: Sequence[Batch], first: int = 1) -> list[Predictions]:
        return self.steppers[index].predict(0, batches, first)

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        return {index: self.predict(index, own) for index, own in batches.items()}

    def diagnostics(self, index: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        return self.steppers[index].diagnostics(0, batch, kinds)

    def state(self, index: int) -> Arrays:
        return self.steppers[index].state(0)

    def check(self, index: int, arrays: Arrays) -> None:
        self.steppers[index].check(0, arrays)

    def restore(self, index: int, arrays: Arrays) -> None:
        self.steppers[index].restore(0, arrays)

    def weights(self, index: int) -> Arrays:
        return self.steppers[index].weights(0)


def loop_of(
    specs: Sequence[RunSpec],
    checkpointer: MemoryCheckpointer | None = None,
    progress: Callable[[Event], None] = lambda event: None,
) -> tuple[Loop, ParallelSteppers]:
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = ParallelSteppers(specs, sources)
    return Loop(specs, sources, stepper, progress, checkpointer, 0, {"device": "cpu"}), stepper


def all_numbers(records: Sequence[Record]) -> list[dict[str, Any]]:
    return [record.numbers() for record in records]


def test_a_group_of_two_gives_the_numbers_of_two_single_runs() -> None:
    specs, checkpointer = [tiny(seed=0), tiny(seed=1, lr=1e-2)], MemoryCheckpointer()
    loop, _ = loop_of(specs, checkpointer)
    records = loop.run(resume=False)
    alone = [numbers(spec) for spec in specs]
    assert all_numbers(records) == [one[0] for one in alone]
    for spec, (_, weights) in zip(specs, alone, strict=True):
        assert all(np.array_equal(checkpointer.finished[spec.id][name], weights[name]) for name in weights)
    assert [record.environment["vmap"] for record in records] == [2, 2]


def test_diagnostics_are_logged_for_each_run() -> None:
    specs = [tiny(seed=seed, log_diagnostics=("rank", "gradients")) for seed in (0, 1)]
    loop, _ = loop_of(specs)
    records = loop.run(resume=False)
    assert all_numbers(records) == [train_runs([spec])[0].numbers() for spec in specs]
    assert records[0].diagnostics_history != records[1].diagnostics_history


def test_a_run_that_ends_does_not_change_the_others() -> None:
    solvable: dict[str, Any] = {
        "task": EASY,
        "max_steps": 200,
        "batch_size": 32,
        "eval_every": 10,
        "early_stop_accuracy": 0.99,
    }
    specs = [
        tiny(**solvable, lr=1e-5, seed=3),
        tiny(**solvable, lr=2e-2, seed=4),
        tiny(**solvable, lr=3e4, grad_clip=None, seed=5),
    ]
    loop, stepper = loop_of(specs, MemoryCheckpointer())
    records = loop.run(resume=False)
    assert all_numbers(records) == [train_runs([spec])[0].numbers() for spec in specs]
    assert [(record.status, record.early_stopped) for record in records] == [
        ("done", False),
        ("done", True),
        ("diverged", False),
    ]
    assert stepper.steps[0] == 200
    assert stepper.steps[1] == records[1].steps < 200
    assert stepper.steps[2] < 200


@pytest.mark.parametrize("step", [5, 12])
def test_an_interrupted_group_resumes_to_the_same_numbers(step: int) -> None:
    specs, checkpointer = [tiny(seed=0, lr=3e4, grad_clip=None), tiny(seed=1)], MemoryCheckpointer()
    loop, _ = loop_of(specs, checkpointer, interrupt_at(step))
    with pytest.raises(InterruptedTraining):
        loop.run(resume=False)
    assert list(checkpointer.checkpoints) == [spec.id for spec in specs]
    resumed, _ = loop_of(specs, checkpointer)
    assert all_numbers(resumed.run(resume=True)) == [train_runs([spec])[0].numbers() for spec in specs]


def test_a_group_has_one_shape() -> None:
    with pytest.raises(AssertionError, match="the runs of a group must have one shape"):
        train_runs([tiny(), tiny("gpam")])
