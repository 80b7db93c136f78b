"""The only entrance to training: a bundle of runs -> records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from attnlab.errors import InvalidValueError
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.compiling import Compile
from attnlab.training.environment import environment
from attnlab.training.events import Progress, no_callback
from attnlab.training.loop import Checkpointer, Loop
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper
from attnlab.training.vmap_width import (
    VmapWidth,
    fitting_width,
    is_out_of_memory,
    max_width,
    release,
    too_large_error,
    vmap_obstacle,
)

CHECKPOINT_SECONDS = 20.0
"""Seconds between two checkpoints."""


def train_runs(
    group: Sequence[RunSpec],
    progress: Progress = no_callback,
    *,
    device: torch.device | None = None,
    checkpointer: Checkpointer | None = None,
    resume: bool = False,
    pause: float = CHECKPOINT_SECONDS,
    vmap: VmapWidth = "auto",
    compile: Compile = "auto",
) -> list[Record]:
    """Train the runs of a bundle, and tell what they showed.

    Args:
        group: Runs of equal shape.
        progress: Takes every event of the training.
        device: Where to train; the CPU if none is given.
        checkpointer: Where checkpoints and finished weights are kept; None keeps none.
        resume: Whether to go on from a kept checkpoint.
        pause: Seconds between two checkpoints.
        vmap: How many runs are stacked into one program, the others follow; ``auto`` stacks as many as fit on a GPU,
            and none on a CPU.
        compile: Whether steps are compiled, those of a run that stands alone, and on a GPU recorded as one launch;
            ``auto`` does both where they pay.

    Raises:
        InterruptedTraining: the person pressed Ctrl-C.
        InvalidValueError: lanes were asked for, and the variant cannot be stacked.
        DeviceError: not even one run fits into the memory of the device.
    """
    parts = train_groups(
        group,
        progress,
        device=device,
        checkpointer=checkpointer,
        resume=resume,
        pause=pause,
        vmap=vmap,
        compile=compile,
    )
    return [record for records in parts for record in records]


def train_groups(
    group: Sequence[RunSpec],
    progress: Progress = no_callback,
    *,
    device: torch.device | None = None,
    checkpointer: Checkpointer | None = None,
    resume: bool = False,
    pause: float = CHECKPOINT_SECONDS,
    vmap: VmapWidth = "auto",
    compile: Compile = "auto",
) -> Iterator[list[Record]]:
    """Like :func:`run`, but the records of those that are stacked together come as soon as they are there."""
    assert len({spec.shape for spec in group}) <= 1, "the runs of a bundle have one shape"
    place = device or torch.device("cpu")
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)  # streams, recordings and pinned memory are the current device's
    waiting, count = list(group), 1
    if waiting:
        count = vmap_count(waiting, place, vmap)
    while waiting:
        records = _tried(waiting[:count], progress, place, checkpointer, resume, pause, compile)
        if records is None:
            release(place)
            if min(count, len(waiting)) == 1:
                raise too_large_error(
                    waiting[0], place, lambda spec, source: make_stepper([spec], [source], place, "never")
                )
            count = min(count, len(waiting)) // 2
        else:
            waiting = waiting[count:]
            yield records


def vmap_count(group: Sequence[RunSpec], device: torch.device, vmap: VmapWidth) -> int:
    """How many runs of a bundle are stacked.

    Raises:
        InvalidValueError: lanes were asked for, and the variant cannot be stacked.
    """
    count = min(max_width(vmap, device.type), len(group))
    if count == 1:
        return 1
    if reason := vmap_obstacle(group[0], device):
        if vmap == "auto":
            return 1
        result = f"'{group[0].variant}' with '{group[0].model.position}' cannot be stacked: {reason}."
        raise InvalidValueError(result, "Leave --lanes out, or see: attnlab check.", where=f"--lanes {vmap}")
    return fitting_width(group[0], device, count)


def make_stepper(
    specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, compile: Compile = "auto"
) -> Stepper:
    """What takes the steps of one run, or of several that are stacked."""
    if len(specs) == 1:
        return SingleStepper(specs[0], sources[0], device, compile)
    return VmapStepper(specs, sources, device, compile)


def _tried(
    specs: Sequence[RunSpec],
    progress: Progress,
    device: torch.device,
    checkpointer: Checkpointer | None,
    resume: bool,
    pause: float,
    compile: Compile,
) -> list[Record] | None:
    """The records of runs that are stacked; None if the device has not the memory for them."""
    try:
        sources = [Source(spec.task, spec.seed, spec.train.train_examples) for spec in specs]
        stepper = make_stepper(specs, sources, device, compile)
        ahead = device.type != "cpu"
        return Loop(specs, sources, stepper, progress, checkpointer, pause, environment(device), ahead).run(resume)
    except Exception as error:  # what the failed attempt holds is let go only once the error is
        if not is_out_of_memory(error):
            raise
        return None
