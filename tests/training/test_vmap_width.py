"""How many runs are stacked: what cannot be stacked, what the memory permits, and a device that refuses."""

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
from attnlab.training import run as training_run
from attnlab.training import vmap_width
from attnlab.training.run import train_groups, train_runs
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper
from attnlab.training.vmap_width import MAX_AUTO_WIDTH, is_out_of_memory, max_width, vmap_obstacle, width_within
from tests.training.runs import MemoryCheckpointer, tiny

CPU = torch.device("cpu")
CALLS: list[int] = []
SHORT: dict[str, Any] = {"max_steps": 4, "eval_every": 4}


def specs_of(count: int) -> list[RunSpec]:
    return [tiny(seed=seed, **SHORT) for seed in range(count)]


# -- what can be stacked ---------------------------------------------------------------------------------------------


def branching(self: Softmax, qkv: QKV, position: Position) -> Tensor:
    if qkv.values_BHSC.sum() > 0:
        return qkv.values_BHSC
    return -qkv.values_BHSC


def counting(self: Softmax, qkv: QKV, position: Position) -> Tensor:
    """Depends on how often it was called."""
    CALLS.append(1)
    return qkv.values_BHSC * len(CALLS)


@pytest.mark.parametrize("spec", [tiny("softmax"), tiny("dape", "randomized-xl"), tiny("sea", "none"), tiny("delta")])
def test_registered_variants_can_be_stacked(spec: RunSpec) -> None:
    assert vmap_obstacle(spec, CPU) == ""


def test_a_branch_on_a_value_cannot_be_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Softmax, "attend", branching)
    reason = vmap_obstacle(tiny(), CPU)
    assert "data-dependent control flow" in reason
    assert "\n" not in reason
    with pytest.raises(InvalidValueError) as caught:
        train_runs(specs_of(2), vmap=2)
    assert str(caught.value) == (
        f"--vmap 2\n  'softmax' with 'learned' cannot be vmapped: {reason}.\n  Leave --vmap out, or run: attnlab check."
    )


def test_stacked_losses_that_differ_from_single_ones_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Softmax, "attend", counting)
    assert vmap_obstacle(tiny(), CPU).startswith("stacked with another run its loss is ")


def test_a_stacked_loss_that_is_nan_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def losing(self: Softmax, qkv: QKV, position: Position) -> Tensor:
        CALLS.append(1)
        return qkv.values_BHSC * (1.0 if len(CALLS) <= alone else float("nan"))

    alone = 2  # runs of one layer, one after the other; then both at once
    CALLS.clear()
    monkeypatch.setattr(Softmax, "attend", losing)
    assert vmap_obstacle(tiny(), CPU).startswith("stacked with another run its loss is nan, alone ")


def test_with_auto_a_variant_that_cannot_be_stacked_is_trained_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Softmax, "attend", branching)
    monkeypatch.setattr(training_run, "max_width", lambda vmap, device: 8)
    assert [record.environment["vmap"] for record in train_runs(specs_of(2))] == [1, 1]


# -- what memory allows ----------------------------------------------------------------------------------------------


def test_auto_stacks_runs_on_gpus_only() -> None:
    assert (max_width("auto", "cuda"), max_width("auto", "cpu"), max_width(5, "cpu")) == (MAX_AUTO_WIDTH, 1, 5)
    assert [record.environment["vmap"] for record in train_runs(specs_of(2))] == [1, 1]


def test_as_many_runs_are_stacked_as_fit_into_the_free_memory() -> None:
    assert [width_within(peak, 1000, 64) for peak in (0, 10, 80, 81, 400, 801, 5000)] == [64, 64, 10, 9, 2, 1, 1]


def test_the_width_on_a_gpu_follows_from_a_step_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda(VmapStepper):  # type: ignore[misc]  # final, except in this test
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


class SmallDevice:
    """A device whose memory suffices for so many runs and so large a batch, from step ``at`` on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runs: int, batch: int = 64, at: int = 0) -> None:
        self.runs, self.batch, self.at = runs, batch, at
        self.tried: list[int] = []
        self.make_stepper = training_run.make_stepper
        monkeypatch.setattr(training_run, "make_stepper", self.build)

    def build(self, specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, *more: Any) -> Stepper:
        self.tried.append(len(specs))
        stepper = self.make_stepper(specs, sources, device, *more)
        assert isinstance(stepper, VmapStepper | SingleStepper)
        limits, steps, step = self, [0], stepper.step

        def refusing(batches: dict[int, Batch], rates: dict[int, float]) -> None:
            steps[0] += 1
            rows = max(len(batch.inputs_BT) for batch in batches.values())
            if steps[0] > limits.at and (len(specs) > limits.runs or rows > limits.batch):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            step(batches, rates)

        stepper.step = refusing  # type: ignore[method-assign]
        return stepper


@pytest.mark.parametrize("at", [0, 2])
def test_a_group_that_does_not_fit_is_halved_until_it_does(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    specs, checkpointer = specs_of(5), MemoryCheckpointer()
    small = SmallDevice(monkeypatch, runs=2, at=at)
    records = train_runs(specs, checkpointer=checkpointer, vmap=5)
    assert small.tried == [5, 2, 2, 1]
    assert [record.spec for record in records] == specs
    assert [record.environment["vmap"] for record in records] == [2, 2, 2, 2, 1]
    assert checkpointer.finished.keys() == {spec.id for spec in specs}


def test_records_are_yielded_program_by_program(monkeypatch: pytest.MonkeyPatch) -> None:
    SmallDevice(monkeypatch, runs=2)
    assert [len(records) for records in train_groups(specs_of(4), vmap=4)] == [2, 2]


def test_the_error_for_a_run_that_does_not_fit_names_a_batch_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    SmallDevice(monkeypatch, runs=2, batch=3)
    with pytest.raises(DeviceError) as caught:
        train_runs(specs_of(3), vmap=3)
    assert str(caught.value) == (
        "copy symbols=2 · softmax · learned · seed 0\n"
        "  A batch of 8 does not fit into the memory of the device 'cpu'.\n"
        "  A step with a batch of 2 fits: add --set train.batch_size=2."
    )


def test_the_error_for_a_run_of_which_no_sequence_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    SmallDevice(monkeypatch, runs=1, batch=0)
    with pytest.raises(DeviceError, match="Not even one sequence fits"):
        train_runs(specs_of(1))


def test_other_errors_do_not_halve_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Stepper:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(training_run, "make_stepper", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_runs(specs_of(2), vmap=2)


def test_out_of_memory_errors_of_several_devices_are_recognized() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
