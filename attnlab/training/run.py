"""The only entrance to training: a bundle of runs -> records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from attnlab.errors import BadValue
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.compiling import Compile
from attnlab.training.environment import environment
from attnlab.training.events import Progress, unseen
from attnlab.training.loop import Loop, Vault
from attnlab.training.stepper import SoloStepper, Stepper
from attnlab.training.vmap_stepper import LaneStepper
from attnlab.training.vmap_width import Lanes, fitting, most, refused, release, too_large, unstackable

PAUSE = 20.0
"""Seconds between two checkpoints."""


def run(
    bundle: Sequence[RunSpec],
    progress: Progress = unseen,
    *,
    device: torch.device | None = None,
    vault: Vault | None = None,
    resume: bool = False,
    pause: float = PAUSE,
    lanes: Lanes = "auto",
    compile: Compile = "auto",
) -> list[Record]:
    """Train the runs of a bundle, and tell what they showed.

    Args:
        bundle: Runs of equal shape.
        progress: Takes every event of the training.
        device: Where to train; the CPU if none is given.
        vault: Where checkpoints and finished weights are kept; None keeps none.
        resume: Whether to go on from a kept checkpoint.
        pause: Seconds between two checkpoints.
        lanes: How many runs are stacked into one program, the others follow; ``auto`` stacks as many as fit on a GPU,
            and none on a CPU.
        compile: Whether steps are compiled, those of a run that stands alone, and on a GPU recorded as one launch;
            ``auto`` does both where they pay.

    Raises:
        Interrupted: the person pressed Ctrl-C.
        BadValue: lanes were asked for, and the variant cannot be stacked.
        DeviceError: not even one run fits into the memory of the device.
    """
    parts = trained(
        bundle, progress, device=device, vault=vault, resume=resume, pause=pause, lanes=lanes, compile=compile
    )
    return [record for records in parts for record in records]


def trained(
    bundle: Sequence[RunSpec],
    progress: Progress = unseen,
    *,
    device: torch.device | None = None,
    vault: Vault | None = None,
    resume: bool = False,
    pause: float = PAUSE,
    lanes: Lanes = "auto",
    compile: Compile = "auto",
) -> Iterator[list[Record]]:
    """Like :func:`run`, but the records of those that are stacked together come as soon as they are there."""
    assert len({spec.shape for spec in bundle}) <= 1, "the runs of a bundle have one shape"
    place = device or torch.device("cpu")
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)  # streams, recordings and pinned memory are the current device's
    waiting, count = list(bundle), 1
    if waiting:
        count = stacked(waiting, place, lanes)
    while waiting:
        records = _tried(waiting[:count], progress, place, vault, resume, pause, compile)
        if records is None:
            release(place)
            if min(count, len(waiting)) == 1:
                raise too_large(waiting[0], place, lambda spec, source: stepper_of([spec], [source], place, "never"))
            count = min(count, len(waiting)) // 2
        else:
            waiting = waiting[count:]
            yield records


def stacked(bundle: Sequence[RunSpec], device: torch.device, lanes: Lanes) -> int:
    """How many runs of a bundle are stacked.

    Raises:
        BadValue: lanes were asked for, and the variant cannot be stacked.
    """
    count = min(most(lanes, device.type), len(bundle))
    if count == 1:
        return 1
    if reason := unstackable(bundle[0], device):
        if lanes == "auto":
            return 1
        found = f"'{bundle[0].variant}' with '{bundle[0].model.position}' cannot be stacked: {reason}."
        raise BadValue(found, "Leave --lanes out, or see: attnlab check.", where=f"--lanes {lanes}")
    return fitting(bundle[0], device, count)


def stepper_of(
    specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, compile: Compile = "auto"
) -> Stepper:
    """What takes the steps of one run, or of several that are stacked."""
    if len(specs) == 1:
        return SoloStepper(specs[0], sources[0], device, compile)
    return LaneStepper(specs, sources, device, compile)


def _tried(
    specs: Sequence[RunSpec],
    progress: Progress,
    device: torch.device,
    vault: Vault | None,
    resume: bool,
    pause: float,
    compile: Compile,
) -> list[Record] | None:
    """The records of runs that are stacked; None if the device has not the memory for them."""
    try:
        sources = [Source(spec.task, spec.seed, spec.train.examples) for spec in specs]
        stepper = stepper_of(specs, sources, device, compile)
        ahead = device.type != "cpu"
        return Loop(specs, sources, stepper, progress, vault, pause, environment(device), ahead).run(resume)
    except Exception as error:  # what the failed attempt holds is let go only once the error is
        if not refused(error):
            raise
        return None
