"""The entry point of training: a group of runs -> records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from attnlab.choices import Compile
from attnlab.errors import InvalidValueError
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training._noise import noise_of_its_own
from attnlab.training.environment import environment
from attnlab.training.events import Progress, no_callback
from attnlab.training.loop import Checkpointer, Loop
from attnlab.training.run_parts import code_of_parts
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper
from attnlab.training.vmap_width import (
    VmapWidth,
    fitting_width,
    is_out_of_memory,
    max_width,
    release_memory,
    too_large_error,
    vmap_obstacle,
)

CHECKPOINT_SECONDS = 20.0
"""Seconds between two checkpoints."""


def train_runs(
    specs: Sequence[RunSpec],
    progress: Progress = no_callback,
    *,
    device: torch.device | None = None,
    checkpointer: Checkpointer | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    vmap: VmapWidth = "auto",
    compile: Compile = "auto",
) -> list[Record]:
    """Train a group of runs.

    Args:
        specs: Runs of equal shape.
        progress: Receives every event of the training; by default they are ignored.
        device: Where to train; None, the default, is the CPU.
        checkpointer: Saves checkpoints and finished weights; None, the default, saves nothing.
        resume: Whether to continue from a saved checkpoint.
        checkpoint_seconds: Seconds between two checkpoints.
        vmap: How many runs are stacked into one program; the others follow. ``auto`` stacks as many as fit into the
            memory of a GPU, and none on a CPU.
        compile: Whether steps of a single run are compiled, and on a GPU captured in a CUDA graph; ``auto`` does both
            where they pay.

    Returns:
        The records, in the order of the specs.

    Raises:
        InterruptedTraining: The user pressed Ctrl-C.
        InvalidValueError: ``vmap`` asks for stacked runs, and the variant cannot be stacked.
        DeviceError: Not even one run fits into the memory of the device.
    """
    groups = train_groups(
        specs,
        progress,
        device=device,
        checkpointer=checkpointer,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        vmap=vmap,
        compile=compile,
    )
    return [record for records in groups for record in records]


def train_groups(
    specs: Sequence[RunSpec],
    progress: Progress = no_callback,
    *,
    device: torch.device | None = None,
    checkpointer: Checkpointer | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    vmap: VmapWidth = "auto",
    compile: Compile = "auto",
) -> Iterator[list[Record]]:
    """Train a group of runs like :func:`train_runs`, and yield the records of each program as soon as it ends.

    Args:
        specs: Runs of equal shape.
        progress: As in :func:`train_runs`.
        device: As in :func:`train_runs`.
        checkpointer: As in :func:`train_runs`.
        resume: As in :func:`train_runs`.
        checkpoint_seconds: As in :func:`train_runs`.
        vmap: As in :func:`train_runs`.
        compile: As in :func:`train_runs`.

    Yields:
        The records of runs that were stacked into one program.

    Raises:
        InterruptedTraining: The user pressed Ctrl-C.
        InvalidValueError: ``vmap`` asks for stacked runs, and the variant cannot be stacked.
        DeviceError: Not even one run fits into the memory of the device.
    """
    assert len({spec.shape for spec in specs}) <= 1, "the runs of a group must have one shape"
    device = device or torch.device("cpu")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # CUDA streams, graphs and pinned memory belong to the current device
    waiting, count = list(specs), 1
    if waiting:
        count = vmap_count(waiting, device, vmap)
    while waiting:
        records = _try_training(waiting[:count], progress, device, checkpointer, resume, checkpoint_seconds, compile)
        if records is None:
            release_memory(device)
            if min(count, len(waiting)) == 1:
                raise too_large_error(
                    waiting[0], device, lambda spec, source: make_stepper([spec], [source], device, "never")
                )
            count = min(count, len(waiting)) // 2
        else:
            waiting = waiting[count:]
            yield records


def vmap_count(specs: Sequence[RunSpec], device: torch.device, vmap: VmapWidth) -> int:
    """Decide how many runs of a group are stacked.

    Args:
        specs: Runs of equal shape.
        device: Where they are trained.
        vmap: The user's choice.

    Returns:
        Number of runs, at least 1.

    Raises:
        InvalidValueError: ``vmap`` asks for stacked runs, and the variant cannot be stacked.
    """
    count = min(max_width(vmap, device.type), len(specs))
    if count == 1:
        return 1
    if obstacle := vmap_obstacle(specs[0], device):
        if vmap == "auto":
            return 1
        position = f" with '{specs[0].model.position}'" if specs[0].model.module is None else ""
        problem = f"'{specs[0].variant}'{position} cannot be vmapped: {obstacle}."
        raise InvalidValueError(problem, "Leave --vmap out, or run: attnlab check.", where=f"--vmap {vmap}")
    return fitting_width(specs[0], device, count)


def make_stepper(
    specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, compile: Compile = "auto"
) -> Stepper:
    """Make the stepper for one run, or for several runs that are stacked.

    Args:
        specs: Runs of equal shape.
        sources: The data of each run.
        device: Where to train.
        compile: Whether steps are compiled or captured, as in :func:`train_runs`.

    Returns:
        The stepper, before its first step.
    """
    if len(specs) == 1:
        return SingleStepper(specs[0], sources[0], device, compile)
    return VmapStepper(specs, sources, device, compile)


def _try_training(
    specs: Sequence[RunSpec],
    progress: Progress,
    device: torch.device,
    checkpointer: Checkpointer | None,
    resume: bool,
    checkpoint_seconds: float,
    compile: Compile,
) -> list[Record] | None:
    """Train runs as one program; return None if the device has too little memory for them."""
    try:
        sources = [Source(spec.task, spec.seed, spec.train.train_examples, spec.train.max_steps) for spec in specs]
        stepper = make_stepper(specs, sources, device, compile)
        prefetch = device.type != "cpu"
        own_code = code_of_parts(specs[0])
        recorded = environment(device) | ({"code": own_code} if own_code else {})
        loop = Loop(specs, sources, stepper, progress, checkpointer, checkpoint_seconds, recorded, prefetch)
        with noise_of_its_own(device):
            return loop.run(resume)
    except Exception as error:  # the memory of the failed attempt is released only once the error is
        if not is_out_of_memory(error):
            raise
        return None
