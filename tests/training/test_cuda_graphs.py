"""Recorded steps: when they are recorded, that they are those written, and what a recording that fails leads to."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor

from attnlab.tasks.io.streams import Source
from attnlab.training import _cuda_graphs
from attnlab.training._cuda_graphs import MOST, SHORT, WORTH, CudaGraphRunner, Function, Given, Recording, should_record
from attnlab.training.compiling import Compile
from attnlab.training.run import make_stepper
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import tiny

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA's")


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Recordings without a GPU: a replay works the function out again, from and into the room of the recording."""
    made: list[Recording] = []

    def recorded(function: Function, given: Given) -> Recording:
        room = [None if one is None else one.clone() for one in given]
        result = tuple(None if one is None else one.clone() for one in function(*room))

        def replay() -> None:
            for positions, one in zip(result, function(*room), strict=True):
                if positions is not None and one is not None:
                    positions.copy_(one)

        made.append(Recording(room, result, replay))
        return made[-1]

    monkeypatch.setattr(_cuda_graphs, "record_graph", recorded)
    return made


def doubled(one: Tensor, other: Tensor | None) -> tuple[Tensor | None, ...]:
    return one * 2, None if other is None else other + one.sum()


def test_a_shape_is_recorded_once_it_has_come_again(recordings: list[Recording]) -> None:
    program = partial(CudaGraphRunner(), doubled)
    for call in range(1, 7):
        given = torch.full((3,), float(call))
        result, missing = program(given, None)
        assert result is not None
        assert torch.equal(result, given * 2)
        assert missing is None
        assert len(recordings) == (call >= WORTH)
    assert result is recordings[0].found[0]


def test_every_shape_has_a_recording_of_its_own(recordings: list[Recording]) -> None:
    program = partial(CudaGraphRunner(), doubled)
    shapes = range(1, MOST + 3)
    for call in range(WORTH + 1):
        for size in shapes:
            one, other = torch.full((size,), 1.0 + call), torch.full((size,), 7.0)
            result, added = program(one, other)
            assert result is not None
            assert added is not None
            assert torch.equal(result, one * 2)
            assert torch.equal(added, other + one.sum())
    assert len(recordings) == MOST


def test_a_recording_that_fails_is_told_of_once_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(function: Function, given: Given) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing\nand a long story")

    monkeypatch.setattr(_cuda_graphs, "record_graph", recorded)
    captured = CudaGraphRunner()
    program = partial(captured, doubled)
    for _ in range(WORTH - 1):
        program(torch.ones(2), None)
    with pytest.warns(RuntimeWarning, match="Not recorded, and slower for it: operation not permitted.*ing$"):
        result, _ = program(torch.ones(2), None)
    for _ in range(WORTH):  # a second warning would be an error
        again, _ = program(torch.ones(2), None)
    assert result is not None
    assert again is not None
    assert torch.equal(result, again)
    assert not captured.works


def test_where_memory_does_not_suffice_steps_are_taken_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(function: Function, given: Given) -> Recording:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(_cuda_graphs, "record_graph", recorded)
    program = partial(CudaGraphRunner(), doubled)
    for _ in range(WORTH - 1):
        program(torch.ones(2), None)
    with pytest.warns(RuntimeWarning, match="Not recorded, and slower for it: full$"):
        result, _ = program(torch.ones(2), None)
    assert result is not None
    assert torch.equal(result, torch.full((2,), 2.0))


@pytest.mark.parametrize(
    ("wish", "device", "steps", "random", "expected"),
    [
        ("auto", "cuda", SHORT, False, True),
        ("auto", "cuda", SHORT - 1, False, False),
        ("auto", "cuda", SHORT, True, False),
        ("never", "cuda", SHORT, False, False),
        ("always", "cpu", SHORT, False, False),
    ],
)
def test_it_is_decided_from_the_run_and_the_device(
    wish: Compile, device: str, steps: int, random: bool, expected: bool
) -> None:
    assert should_record(wish, tiny(max_steps=steps), torch.device(device), random) is expected


@pytest.mark.parametrize("count", [1, 3])
def test_a_stepper_that_nobody_holds_is_gone_at_once(count: int) -> None:
    specs = [tiny(seed=seed) for seed in range(count)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = make_stepper(specs, sources, CPU)
    stepper.step({lane: source.training(0, 8) for lane, source in enumerate(sources)}, dict.fromkeys(range(count), 0.1))
    assert isinstance(stepper, SingleStepper | VmapStepper)
    watched = weakref.ref(stepper)
    gc.disable()
    try:
        del stepper
        assert watched() is None
    finally:
        gc.enable()


def test_recorded_steps_are_those_written(recordings: list[Recording]) -> None:
    spec = tiny(grad_clip=0.1)
    source = Source(spec.task, spec.seed)
    one, other = (SingleStepper(spec, source, CPU, "never") for _ in range(2))
    one.cuda_graphs = CudaGraphRunner()
    for step in range(2 * WORTH):
        for stepper in (one, other):
            stepper.step({0: source.training(step, 8)}, {0: 1e-2})
    assert len(recordings) == 1
    assert one.losses() == other.losses()
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_recorded_steps_of_lanes_are_those_written_and_begin_anew_when_one_retires(
    recordings: list[Recording],
) -> None:
    specs = [tiny(seed=seed) for seed in range(3)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    one, other = (VmapStepper(specs, sources, CPU) for _ in range(2))
    one.captures = True
    one._fix()
    for step in range(4 * WORTH):
        running = [0, 1, 2] if step < 2 * WORTH else [0, 2]
        for stepper in (one, other):
            batches = {lane: sources[lane].training(step, 8) for lane in running}
            stepper.step(batches, dict.fromkeys(running, 1e-2))
    assert len(recordings) == 2
    assert one.losses() == other.losses()
    assert torch.equal(one.block.weights_KP, other.block.weights_KP)


def test_nothing_is_recorded_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [tiny(seed=seed, max_steps=SHORT) for seed in range(2)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    assert not VmapStepper(specs, sources, CPU, "always").captures
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert SingleStepper(specs[0], sources[0], CPU, "always").cuda_graphs is None


@GPU
@pytest.mark.parametrize("count", [1, 3])
def test_a_gpu_replays_what_it_recorded(count: int) -> None:
    device = torch.device("cuda")
    specs = [tiny(seed=seed) for seed in range(count)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    one, other = (make_stepper(specs, sources, device, "never") for _ in range(2))
    if isinstance(one, VmapStepper):
        one.captures = True
        one._fix()
    elif isinstance(one, SingleStepper):
        one.cuda_graphs = CudaGraphRunner()
    for step in range(2 * WORTH):
        batches = {lane: source.training(step, 8) for lane, source in enumerate(sources)}
        for stepper in (one, other):
            stepper.step(batches, dict.fromkeys(batches, 1e-2))
    losses, expected = one.losses(), other.losses()
    assert all(losses[lane] == pytest.approx(expected[lane], rel=1e-5) for lane in range(count))


@GPU
def test_a_recording_that_fails_leaves_the_stream_as_it_was() -> None:
    def waits(one: Tensor) -> tuple[Tensor | None, ...]:
        return (one * one.sum().item(),)

    given, before = torch.ones(3, device="cuda"), torch.cuda.current_stream()
    captured = CudaGraphRunner()
    for _ in range(WORTH - 1):
        captured(waits, given)
    with pytest.warns(RuntimeWarning, match="Not recorded"):
        result, *_ = captured(waits, given)
    assert result is not None
    assert torch.equal(result.cpu(), torch.full((3,), 3.0))
    assert torch.cuda.current_stream() == before
