"""A run goes on from its own checkpoint, whatever it was trained beside before and is trained beside now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.errors import InterruptedTraining
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.events import Event, RunStarted
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import MemoryCheckpointer, interrupt_at, tiny

CPU = torch.device("cpu")
VARIED: list[dict[str, Any]] = [{"lr": 1e-2}, {"lr": 3e-3, "grad_clip": None}, {"lr": 5e-3}, {"lr": 1e-2}]


def specs_of(count: int, position: str = "learned", **train: Any) -> list[RunSpec]:
    """Runs of one shape with different rates."""
    return [tiny(position=position, seed=seed, **VARIED[seed], **train) for seed in range(count)]


def interrupted(specs: Sequence[RunSpec], vmap: int, step: int = 10) -> tuple[MemoryCheckpointer, dict[str, int]]:
    """Train runs until they are interrupted; also the step that each of them has reached in its checkpoint."""
    checkpointer = MemoryCheckpointer()
    with pytest.raises(InterruptedTraining):
        train_runs(specs, interrupt_at(step), checkpointer=checkpointer, vmap=vmap)
    return checkpointer, {run: json.loads(data)["step"] for run, (_, data) in checkpointer.checkpoints.items()}


def check_close(records: Sequence[Record], expected: Sequence[Record], rel: float) -> None:
    """The records are the same up to rounding."""
    for record, other in zip(records, expected, strict=True):
        assert (record.id, record.status, record.steps) == (other.id, other.status, other.steps)
        assert [point.step for point in record.history] == [point.step for point in other.history]
        losses = [point.loss for point in other.history]
        assert [point.loss for point in record.history] == pytest.approx(losses, rel=rel)
        assert record.loss == pytest.approx(other.loss, rel=rel)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("position", ["learned", "randomized"])
@pytest.mark.parametrize(
    ("before", "after", "vmap"),
    [((1, 1), 2, 2), ((2, 2), 2, 1), ((2, 2), 3, 3), ((4, 4), 4, 2), ((3, 3), 4, 3)],
    ids=["single to vmapped", "vmapped to single", "2 to 3, one of them new", "4 to 2", "3 to 3 and 1"],
)
def test_each_run_goes_on_in_another_grouping(
    before: tuple[int, int], after: int, vmap: int, position: str, optimizer: str
) -> None:
    specs = specs_of(after, position, optimizer=optimizer)
    started, width = before
    checkpointer, reached = interrupted(specs[:started], width)
    assert set(reached.values()) == {10}
    assert checkpointer.checkpoints.keys() == {spec.id for spec in specs[:started]}
    events: list[Event] = []
    records = train_runs(specs, events.append, checkpointer=checkpointer, resume=True, vmap=vmap)
    first = {event.spec.id: event.step for event in events if isinstance(event, RunStarted)}
    assert first == {spec.id: reached.get(spec.id, 0) for spec in specs}
    assert records[0].environment["vmap"] == vmap
    check_close(records, train_runs(specs, vmap=vmap), rel=1e-7)


@pytest.mark.parametrize("vmap", [1, 2])
def test_the_same_grouping_comes_to_the_same_bits(vmap: int) -> None:
    specs, whole = specs_of(2), MemoryCheckpointer()
    checkpointer, _ = interrupted(specs, vmap)
    records = train_runs(specs, checkpointer=checkpointer, resume=True, vmap=vmap)
    expected = train_runs(specs, checkpointer=whole, vmap=vmap)
    assert [record.numbers() for record in records] == [record.numbers() for record in expected]
    for spec in specs:
        weights = whole.finished[spec.id]
        assert all(np.array_equal(checkpointer.finished[spec.id][name], weights[name]) for name in weights)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("position", ["learned", "randomized", "randomized-alibi"])
@pytest.mark.parametrize("attention", ["softmax", "gpam", "easy"])
def test_runs_at_different_steps_take_the_steps_of_single_runs(attention: str, position: str, optimizer: str) -> None:
    specs = [tiny(attention, position, seed=seed, optimizer=optimizer) for seed in range(3)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    singles = [SingleStepper(spec, source, CPU) for spec, source in zip(specs, sources, strict=True)]
    vmapped, ahead = VmapStepper(specs, sources, CPU), [0, 4, 9]
    for index, single in enumerate(singles):
        for step in range(ahead[index]):
            single.step({0: sources[index].training(step, 8)}, {0: 1e-2})
        vmapped.restore(index, single.state(0))
        single.losses()
    for _ in range(3):
        batches = {index: sources[index].training(step, 8) for index, step in enumerate(ahead)}
        vmapped.step(batches, dict.fromkeys(batches, 1e-2))
        for index, single in enumerate(singles):
            single.step({0: batches[index]}, {0: 1e-2})
        ahead = [step + 1 for step in ahead]
    losses = vmapped.losses()
    for index, single in enumerate(singles):
        assert losses[index] == pytest.approx(single.losses()[0], rel=1e-9)
        ours, theirs = vmapped.state(index), single.state(0)
        assert ours["taken"] == theirs["taken"] == ahead[index]
        for name in theirs.keys() - {"compiled"}:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-12, err_msg=name)


def test_runs_at_different_steps_are_validated_and_ended_each_at_its_own() -> None:
    specs = [tiny(seed=0), tiny(seed=1, lr=3e4, grad_clip=None), tiny(seed=2, lr=1e-2)]
    checkpointer, _ = interrupted(specs[:1], 1, step=5)
    records = train_runs(specs, checkpointer=checkpointer, resume=True, vmap=3)
    singles = [train_runs([spec])[0] for spec in specs]
    assert [(one.status, one.steps) for one in records] == [(one.status, one.steps) for one in singles]
    assert [record.status for record in records] == ["done", "diverged", "done"]
    for index in (0, 2):
        assert [point.step for point in records[index].history] == [8, 16, 24]


def test_a_run_that_has_ended_keeps_its_end_in_another_grouping() -> None:
    specs = [tiny(seed=0, lr=3e4, grad_clip=None, max_steps=60), tiny(seed=1, max_steps=60)]
    checkpointer, _ = interrupted(specs, 2, step=30)
    events: list[Event] = []
    records = train_runs(specs, events.append, checkpointer=checkpointer, resume=True, vmap=1)
    expected = train_runs(specs, vmap=2)
    assert [(record.status, record.steps) for record in records] == [(one.status, one.steps) for one in expected]
    assert records[0].reason == expected[0].reason


def test_an_interruption_of_runs_at_different_steps_names_both_ends() -> None:
    specs = specs_of(2)
    checkpointer, _ = interrupted(specs[:1], 1, step=10)

    with pytest.raises(InterruptedTraining, match=r"Interrupted at steps \d+ to \d+ of 24\."):
        train_runs(specs, interrupt_at(12), checkpointer=checkpointer, resume=True, vmap=2)
