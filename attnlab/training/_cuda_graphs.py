"""CUDA graphs: on an NVIDIA GPU the kernels of a function are captured once and then replayed with one launch.

    calls 1, 2     eager: a shape that does not come again is not worth a capture
    call 3         captured, with static memory for inputs and outputs
    from then on   inputs are copied into the static memory, the graph is replayed, outputs are read there

A step of a tiny model is some hundred kernels of a few microseconds each. Launching them one by one takes longer than
running them. Whatever the function reads besides its arguments, such as weights, must keep its address in memory.

A graph replays the same kernels as the eager function, so the numbers are the same.

Where memory does not suffice for a capture, steps are taken eagerly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from attnlab.choices import Compile
from attnlab.specs import RunSpec

Arguments = Sequence[Tensor | None]
"""Arguments of a function; one that is None is None in all calls of one shape."""
Function = Callable[..., tuple[Tensor | None, ...]]

CAPTURE_AT_CALL = 3
"""The call of one shape, counted from 1, at which it is captured; also the number of warmup calls."""
MAX_GRAPHS = 8
"""Graphs that are kept at most: each keeps its inputs and outputs in memory."""
MIN_STEPS = 100
"""Steps below which the steps of a run are not captured."""


def should_capture(compile: Compile, spec: RunSpec, device: torch.device, random_position: bool) -> bool:
    """Whether the steps of a run are captured; never with a position that draws new numbers at each step."""
    return compile != "never" and device.type == "cuda" and not random_position and spec.train.max_steps >= MIN_STEPS


class CapturedGraph(NamedTuple):
    """One captured shape of a function."""

    inputs: Arguments
    """Static memory of the inputs."""
    outputs: tuple[Tensor | None, ...]
    """Static memory of the outputs, valid until the next call."""
    replay: Callable[[], object]


@final
class CudaGraphRunner:
    """Calls functions through CUDA graphs; if a capture fails, warns once and calls them eagerly from then on.

    The next call of the same shape overwrites what is returned: copy what must last.
    """

    def __init__(self) -> None:
        self.works = True
        """Whether no capture has failed."""
        self._calls: dict[object, int] = {}
        self._graphs: dict[object, CapturedGraph] = {}

    def __call__(self, function: Function, *arguments: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the value of a function.

        Args:
            function: The same at every call; tensors to tensors, without side effects. Whatever else it reads keeps its
                address in memory.
            arguments: Its arguments.
        """
        key = tuple(one if one is None else (tuple(one.shape), one.dtype) for one in arguments)
        if graph := self._graphs.get(key):
            return replay_graph(graph, arguments)
        self._calls[key] = self._calls.get(key, 0) + 1
        if not self.works or self._calls[key] < CAPTURE_AT_CALL or len(self._graphs) >= MAX_GRAPHS:
            return function(*arguments)
        try:
            self._graphs[key] = capture_graph(function, arguments)
        except Exception as error:  # whatever cannot be captured can be computed eagerly
            self.works = False
            self._graphs.clear()
            reason = str(error).strip().splitlines() or [type(error).__name__]
            message = f"CUDA graph capture failed; steps run eagerly, which is slower: {reason[0][:200]}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return function(*arguments)
        return replay_graph(self._graphs[key], arguments)


def replay_graph(graph: CapturedGraph, arguments: Arguments) -> tuple[Tensor | None, ...]:
    """Copy the arguments into the static memory, replay the graph and return its outputs."""
    for static, argument in zip(graph.inputs, arguments, strict=True):
        if static is not None and argument is not None:
            static.copy_(argument, non_blocking=True)
    graph.replay()
    return graph.outputs


def capture_graph(function: Function, arguments: Arguments) -> CapturedGraph:
    """Capture a function on copies of its arguments.

    Torch requires some warmup calls on a CUDA stream of their own, in which libraries set up what cannot be captured.
    A failed capture leaves its CUDA stream current, so the one before is restored in any case.
    """
    static = [None if one is None else one.clone() for one in arguments]
    current, warmup, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
    try:
        warmup.wait_stream(current)
        with torch.cuda.stream(warmup):
            for _ in range(CAPTURE_AT_CALL):
                function(*static)
        current.wait_stream(warmup)
        with torch.cuda.graph(graph):
            outputs = function(*static)
    finally:
        torch.cuda.set_stream(current)
    return CapturedGraph(static, outputs, graph.replay)
