"""CUDA graphs: when steps are captured, that they equal eager ones, and what happens when a capture fails."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor

from attnlab.choices import Compile
from attnlab.tasks.io.streams import Source
from attnlab.training import _cuda_graphs
from attnlab.training._cuda_graphs import (
    CAPTURE_AT_CALL,
    MAX_GRAPHS,
    MIN_STEPS,
    Arguments,
    CapturedGraph,
    CudaGraphRunner,
    Function,
    should_capture,
)
from attnlab.training.run import make_stepper
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import tiny

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[CapturedGraph]:
    """Graphs without a GPU: a replay computes the function again, from and into the static memory."""
    captured: list[CapturedGraph] = []

    def capture(function: Function, arguments: Arguments) -> CapturedGraph:
        inputs = [None if one is None else one.clone() for one in arguments]
        outputs = tuple(None if one is None else one.clone() for one in function(*inputs))

        def replay() -> None:
            for static, output in zip(outputs, function(*inputs), strict=True):
                if static is not None and output is not None:
                    static.copy_(output)

        captured.append(CapturedGraph(inputs, outputs, replay))
        return captured[-1]

    monkeypatch.setattr(_cuda_graphs, "capture_graph", capture)
    return captured


def doubled(one: Tensor, other: Tensor | None) -> tuple[Tensor | None, ...]:
    return one * 2, None if other is None else other + one.sum()


def test_a_shape_is_captured_at_its_third_call(graphs: list[CapturedGraph]) -> None:
    program = partial(CudaGraphRunner(), doubled)
    for call in range(1, 7):
        argument = torch.full((3,), float(call))
        result, missing = program(argument, None)
        assert result is not None
        assert torch.equal(result, argument * 2)
        assert missing is None
        assert len(graphs) == (call >= CAPTURE_AT_CALL)
    assert result is graphs[0].outputs[0]


def test_every_shape_has_a_graph_of_its_own(graphs: list[CapturedGraph]) -> None:
    program = partial(CudaGraphRunner(), doubled)
    shapes = range(1, MAX_GRAPHS + 3)
    for call in range(CAPTURE_AT_CALL + 1):
        for size in shapes:
            one, other = torch.full((size,), 1.0 + call), torch.full((size,), 7.0)
            result, added = program(one, other)
            assert result is not None
            assert added is not None
            assert torch.equal(result, one * 2)
            assert torch.equal(added, other + one.sum())
    assert len(graphs) == MAX_GRAPHS


def test_a_failed_capture_warns_once_and_steps_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(function: Function, arguments: Arguments) -> CapturedGraph:
        raise RuntimeError("operation not permitted when stream is capturing\nand a long story")

    monkeypatch.setattr(_cuda_graphs, "capture_graph", capture)
    runner = CudaGraphRunner()
    program = partial(runner, doubled)
    for _ in range(CAPTURE_AT_CALL - 1):
        program(torch.ones(2), None)
    with pytest.warns(
        RuntimeWarning,
        match="CUDA graph capture failed; steps run eagerly, which is slower: operation not permitted.*ing$",
    ):
        result, _ = program(torch.ones(2), None)
    for _ in range(CAPTURE_AT_CALL):  # a second warning would be an error
        again, _ = program(torch.ones(2), None)
    assert result is not None
    assert again is not None
    assert torch.equal(result, again)
    assert not runner.works


def test_without_enough_memory_steps_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(function: Function, arguments: Arguments) -> CapturedGraph:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(_cuda_graphs, "capture_graph", capture)
    program = partial(CudaGraphRunner(), doubled)
    for _ in range(CAPTURE_AT_CALL - 1):
        program(torch.ones(2), None)
    with pytest.warns(RuntimeWarning, match="CUDA graph capture failed; steps run eagerly, which is slower: full$"):
        result, _ = program(torch.ones(2), None)
    assert result is not None
    assert torch.equal(result, torch.full((2,), 2.0))


@pytest.mark.parametrize(
    ("compile", "device", "steps", "random", "expected"),
    [
        ("auto", "cuda", MIN_STEPS, False, True),
        ("auto", "cuda", MIN_STEPS - 1, False, False),
        ("auto", "cuda", MIN_STEPS, True, False),
        ("never", "cuda", MIN_STEPS, False, False),
        ("always", "cpu", MIN_STEPS, False, False),
    ],
)
def test_the_choice_depends_on_the_run_and_the_device(
    compile: Compile, device: str, steps: int, random: bool, expected: bool
) -> None:
    assert should_capture(compile, tiny(max_steps=steps), torch.device(device), random) is expected


@pytest.mark.parametrize("count", [1, 3])
def test_an_unreferenced_stepper_is_freed_at_once(count: int) -> None:
    specs = [tiny(seed=seed) for seed in range(count)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = make_stepper(specs, sources, CPU)
    stepper.step(
        {index: source.training(0, 8) for index, source in enumerate(sources)}, dict.fromkeys(range(count), 0.1)
    )
    assert isinstance(stepper, SingleStepper | VmapStepper)
    reference = weakref.ref(stepper)
    gc.disable()
    try:
        del stepper
        assert reference() is None
    finally:
        gc.enable()


def test_captured_steps_equal_eager_ones(graphs: list[CapturedGraph]) -> None:
    spec = tiny(grad_clip=0.1)
    source = Source(spec.task, spec.seed)
    one, other = (SingleStepper(spec, source, CPU, "never") for _ in range(2))
    one.cuda_graphs = CudaGraphRunner()
    for step in range(2 * CAPTURE_AT_CALL):
        for stepper in (one, other):
            stepper.step({0: source.training(step, 8)}, {0: 1e-2})
    assert len(graphs) == 1
    assert one.losses() == other.losses()
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_captured_steps_of_vmapped_runs_equal_eager_ones_and_are_captured_anew_when_a_run_ends(
    graphs: list[CapturedGraph],
) -> None:
    specs = [tiny(seed=seed) for seed in range(3)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    one, other = (VmapStepper(specs, sources, CPU) for _ in range(2))
    one.captures = True
    one._stack_fixed()
    for step in range(4 * CAPTURE_AT_CALL):
        running = [0, 1, 2] if step < 2 * CAPTURE_AT_CALL else [0, 2]
        for stepper in (one, other):
            batches = {index: sources[index].training(step, 8) for index in running}
            stepper.step(batches, dict.fromkeys(running, 1e-2))
    assert len(graphs) == 2
    assert one.losses() == other.losses()
    assert torch.equal(one.optimizer.weights_KP, other.optimizer.weights_KP)


def test_nothing_is_captured_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [tiny(seed=seed, max_steps=MIN_STEPS) for seed in range(2)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    assert not VmapStepper(specs, sources, CPU, "always").captures
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert SingleStepper(specs[0], sources[0], CPU, "always").cuda_graphs is None


@GPU
@pytest.mark.parametrize("count", [1, 3])
def test_a_gpu_replays_what_it_captured(count: int) -> None:
    device = torch.device("cuda")
    specs = [tiny(seed=seed) for seed in range(count)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    one, other = (make_stepper(specs, sources, device, "never") for _ in range(2))
    if isinstance(one, VmapStepper):
        one.captures = True
        one._stack_fixed()
    elif isinstance(one, SingleStepper):
        one.cuda_graphs = CudaGraphRunner()
    for step in range(2 * CAPTURE_AT_CALL):
        batches = {index: source.training(step, 8) for index, source in enumerate(sources)}
        for stepper in (one, other):
            stepper.step(batches, dict.fromkeys(batches, 1e-2))
    losses, expected = one.losses(), other.losses()
    assert all(losses[index] == pytest.approx(expected[index], rel=1e-5) for index in range(count))


@GPU
def test_a_failed_capture_restores_the_cuda_stream() -> None:
    def synchronizing(one: Tensor) -> tuple[Tensor | None, ...]:
        return (one * one.sum().item(),)

    argument, before = torch.ones(3, device="cuda"), torch.cuda.current_stream()
    runner = CudaGraphRunner()
    for _ in range(CAPTURE_AT_CALL - 1):
        runner(synchronizing, argument)
    with pytest.warns(RuntimeWarning, match="CUDA graph capture failed"):
        result, *_ = runner(synchronizing, argument)
    assert result is not None
    assert torch.equal(result.cpu(), torch.full((3,), 3.0))
    assert torch.cuda.current_stream() == before
