"""A function of tensors as one launch: on a GPU of NVIDIA's its kernels are recorded once, then only replayed.

    calls 1, 2     as written: a shape that does not come again is not worth a recording
    call 3         recorded, with room of its own for what goes in and what comes out
    from then on   what goes in is copied into that room, the recording is replayed, what came out is read there

A step of a tiny model is some hundred kernels of a few microseconds each; to launch them one by one takes longer than
they run. Whatever the function reads beside its arguments, such as weights, must stay where it is in memory.

The kernels are those that run as written, so the numbers are too.

Where memory does not suffice for a recording, steps are taken as written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from attnlab.specs import RunSpec
from attnlab.training.compiling import Compile

Given = Sequence[Tensor | None]
"""Arguments; one that is missing stays missing in all calls of one shape."""
Function = Callable[..., tuple[Tensor | None, ...]]

WORTH = 3
"""Calls of one shape from which it is recorded."""
MOST = 8
"""Recordings that are kept: each holds what goes in and comes out."""
SHORT = 100
"""Steps below which a run is not recorded."""


def should_record(wish: Compile, spec: RunSpec, device: torch.device, random: bool) -> bool:
    """Whether the steps of a run are recorded; never where a position draws anew at each, unseen by a recording."""
    return wish != "never" and device.type == "cuda" and not random and spec.train.max_steps >= SHORT


class Recording(NamedTuple):
    """What one shape was recorded with."""

    given: Given
    """Room for what goes in."""
    found: tuple[Tensor | None, ...]
    """Room for what comes out, until the next call."""
    replay: Callable[[], object]


@final
class CudaGraphRunner:
    """Functions whose kernels are recorded; as they were written if that fails, with one warning.

    What is returned is overwritten by the next call of the same shape: copy what must last.
    """

    def __init__(self) -> None:
        self.works = True
        """Whether no recording has failed."""
        self._calls: dict[object, int] = {}
        self._kept: dict[object, Recording] = {}

    def __call__(self, function: Function, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        """The value of a function.

        Args:
            function: The same at every call; tensors to tensors, without side effects. Whatever else it reads stays
                where it is in memory.
            given: Its arguments.
        """
        key = tuple(one if one is None else (tuple(one.shape), one.dtype) for one in given)
        if recording := self._kept.get(key):
            return replay_graph(recording, given)
        self._calls[key] = self._calls.get(key, 0) + 1
        if not self.works or self._calls[key] < WORTH or len(self._kept) >= MOST:
            return function(*given)
        try:
            self._kept[key] = record_graph(function, given)
        except Exception as error:  # whatever a recording cannot hold, steps can be taken without it
            self.works = False
            self._kept.clear()
            reason = str(error).strip().splitlines() or [type(error).__name__]
            warnings.warn(f"Not recorded, and slower for it: {reason[0][:200]}", RuntimeWarning, stacklevel=2)
            return function(*given)
        return replay_graph(self._kept[key], given)


def replay_graph(recording: Recording, given: Given) -> tuple[Tensor | None, ...]:
    """The value of a recorded function."""
    for room, one in zip(recording.given, given, strict=True):
        if room is not None and one is not None:
            room.copy_(one, non_blocking=True)
    recording.replay()
    return recording.found


def record_graph(function: Function, given: Given) -> Recording:
    """Record a function on copies of its arguments.

    Torch asks for some calls on a stream of their own first, in which libraries set up what cannot be recorded. A
    recording that fails leaves its stream behind, so the one that was current is put back whatever happens.
    """
    room = [None if one is None else one.clone() for one in given]
    before, aside, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
    try:
        aside.wait_stream(before)
        with torch.cuda.stream(aside):
            for _ in range(WORTH):
                function(*room)
        before.wait_stream(aside)
        with torch.cuda.graph(graph):
            result = function(*room)
    finally:
        torch.cuda.set_stream(before)
    return Recording(room, result, graph.replay)
