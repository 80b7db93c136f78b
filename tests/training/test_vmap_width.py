"""How many lanes fit: what cannot be stacked, what the memory allows, and a device that refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.softmax import Softmax
from attnlab.errors import DeviceError, InvalidValueError
from attnlab.position import Position
from attnlab.specs import RunSpec
from attnlab.tasks import Batch
from attnlab.tasks.io.streams import Source
from attnlab.tensors import QKV
from attnlab.training import run as running
from attnlab.training import vmap_width
from attnlab.training.run import train_groups, train_runs
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper
from attnlab.training.vmap_width import MOST, is_out_of_memory, max_width, vmap_obstacle, width_within
from tests.training.runs import Memory, tiny

CPU = torch.device("cpu")
CALLS: list[int] = []
SHORT: dict[str, Any] = {"steps": 4, "validate_every": 4}


def seeds(count: int) -> list[RunSpec]:
    return [tiny(seed=seed, **SHORT) for seed in range(count)]


# -- what can be stacked ---------------------------------------------------------------------------------------------


def branching(self: Softmax, qkv: QKV, position: Position) -> Tensor:
    if qkv.values_BHSC.sum() > 0:
        return qkv.values_BHSC
    return -qkv.values_BHSC


def counting(self: Softmax, qkv: QKV, position: Position) -> Tensor:
    """Remembers, on the side, how often it was called."""
    CALLS.append(1)
    return qkv.values_BHSC * len(CALLS)


@pytest.mark.parametrize(
    ("spec", "place"),
    [(tiny("softmax"), "learned"), (tiny("dape", "randomized-xl"), ""), (tiny("sea", "none"), ""), (tiny("delta"), "")],
)
def test_registered_variants_can_be_stacked(spec: RunSpec, place: str) -> None:
    assert vmap_obstacle(spec, CPU) == ""


def test_a_branch_on_a_number_cannot_be_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Softmax, "mix", branching)
    reason = vmap_obstacle(tiny(), CPU)
    assert "data-dependent control flow" in reason
    assert "\n" not in reason
    with pytest.raises(InvalidValueError) as caught:
        train_runs(seeds(2), vmap=2)
    assert str(caught.value) == (
        f"--lanes 2\n  'softmax' with 'learned' cannot be stacked: {reason}.\n"
        "  Leave --lanes out, or see: attnlab check."
    )


def test_lanes_with_other_losses_than_their_runs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Softmax, "mix", counting)
    assert vmap_obstacle(tiny(), CPU).startswith("stacked with another its loss is ")


def test_what_cannot_be_stacked_runs_alone_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Softmax, "mix", branching)
    monkeypatch.setattr(running, "most", lambda runs, device: 8)
    assert [record.environment["lanes"] for record in train_runs(seeds(2))] == [1, 1]


# -- what memory allows ----------------------------------------------------------------------------------------------


def test_lanes_are_for_gpus_unless_they_are_asked_for() -> None:
    assert (max_width("auto", "cuda"), max_width("auto", "cpu"), max_width(5, "cpu")) == (MOST, 1, 5)
    assert [record.environment["lanes"] for record in train_runs(seeds(2))] == [1, 1]


def test_as_many_as_the_free_memory_holds() -> None:
    assert [width_within(stored, 1000, 64) for stored in (0, 10, 80, 81, 400, 801, 5000)] == [64, 64, 10, 9, 2, 1, 1]


def test_a_gpu_is_measured_by_a_step_of_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda(VmapStepper):  # type: ignore[misc]  # final, but for this
        def __init__(self, specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device) -> None:
            assert len(specs) == 1
            super().__init__(specs, sources, CPU)

    monkeypatch.setattr(vmap_width, "VmapStepper", Cuda)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 107)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert vmap_width.fitting_width(tiny(), torch.device("cuda"), 64) == 8
    assert vmap_width.fitting_width(tiny(), torch.device("cuda"), 3) == 3


# -- a device that refuses -------------------------------------------------------------------------------------------


class Small:
    """A device with room for so many lanes, and for so large a batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runs: int, batch: int = 64, at: int = 0) -> None:
        self.lanes, self.batch, self.at = runs, batch, at
        self.tried: list[int] = []
        self.real = running.make_stepper
        monkeypatch.setattr(running, "stepper_of", self.build)

    def build(self, specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, *more: Any) -> Stepper:
        self.tried.append(len(specs))
        stepper = self.real(specs, sources, device, *more)
        assert isinstance(stepper, VmapStepper | SingleStepper)
        room, taken, step = self, [0], stepper.step

        def refusing(batches: dict[int, Batch], rates: dict[int, float]) -> None:
            taken[0] += 1
            rows = max(len(batch.inputs_BT) for batch in batches.values())
            if taken[0] > room.at and (len(specs) > room.lanes or rows > room.batch):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            step(batches, rates)

        stepper.step = refusing  # type: ignore[method-assign]
        return stepper


@pytest.mark.parametrize("at", [0, 2])
def test_a_bundle_that_does_not_fit_is_halved_until_it_does(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    specs, checkpointer = seeds(5), Memory()
    small = Small(monkeypatch, runs=2, at=at)
    records = train_runs(specs, checkpointer=checkpointer, vmap=5)
    assert small.tried == [5, 2, 2, 1]
    assert [record.spec for record in records] == specs
    assert [record.environment["lanes"] for record in records] == [2, 2, 2, 2, 1]
    assert checkpointer.finished.keys() == {spec.id for spec in specs}


def test_records_come_as_soon_as_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Small(monkeypatch, runs=2)
    assert [len(records) for records in train_groups(seeds(4), vmap=4)] == [2, 2]


def test_a_run_that_does_not_fit_alone_is_told_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    Small(monkeypatch, runs=2, batch=3)
    with pytest.raises(DeviceError) as caught:
        train_runs(seeds(3), vmap=3)
    assert str(caught.value) == (
        "copy symbols=2 · softmax · learned · seed 0\n"
        "  A batch of 8 does not fit into the memory of the device 'cpu'.\n"
        "  A step with a batch of 2 fits: add --set train.batch=2."
    )


def test_a_run_of_which_no_sequence_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    Small(monkeypatch, runs=1, batch=0)
    with pytest.raises(DeviceError, match="Not even one sequence does"):
        train_runs(seeds(1))


def test_other_errors_are_not_for_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*everything: Any) -> Stepper:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(running, "stepper_of", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_runs(seeds(2), vmap=2)


def test_devices_say_it_in_several_ways() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
