"""How many lanes fit: by what can be stacked, by what one lane takes, and by what the device refuses.

memory   lanes = share * free / (most that one step of one lane held)
refused  the bundle is halved, until it fits or is a single run
single   the largest batch is told, of those halved, whose step fits
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Literal

import torch

from attnlab.errors import AttnlabError, DeviceError
from attnlab.registry import describe_exception
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import Stepper, predict_batch
from attnlab.training.vmap_stepper import VmapStepper

VmapWidth = int | Literal["auto"]
MOST = 64
"""VmapWidth that are stacked where nobody says how many: more of them hardly make each one cheaper."""
SHARE = 0.8
"""Of the free memory; evaluation and the allocator need some."""
CLOSE = 1e-3
"""How far two ways to one loss may differ, relative to it or to 1."""
WORDS = ("out of memory", "can't allocate memory")
"""What devices say whose error is none of its own kind."""


def max_width(vmap: VmapWidth, device: str) -> int:
    """VmapWidth that a bundle may have, as far as the kind of the device says: on a CPU none are stacked unasked."""
    if vmap == "auto":
        return MOST if device == "cuda" else 1
    return vmap


def vmap_obstacle(spec: RunSpec, device: torch.device) -> str:
    """Why runs of this shape cannot be lanes of one program; empty if they can.

    Two lanes take a step on two sequences each, and their losses are held against what each model says alone.
    """
    pair = [spec, spec.model_copy(update={"seed": spec.seed + 1})]
    sources = [Source(one.task, one.seed, one.train.train_examples) for one in pair]
    batches = {lane: source.training(0, 2) for lane, source in enumerate(sources)}
    try:
        stepper = VmapStepper(pair, sources, device)
        alone = [float(predict_batch(stepper.alone(lane), batch, -1, device)[1]) for lane, batch in batches.items()]
        stepper.step(batches, {0: 0.0, 1: 0.0})  # the first step of a training, as the answer above: draw 1
        together = stepper.losses()
    except (AttnlabError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        return describe_exception(error).splitlines()[0]
    for lane, nats in enumerate(alone):
        loss, expected = together[lane][0], nats / max(1, len(batches[lane].query_positions()))
        if abs(loss - expected) > CLOSE * max(1.0, abs(expected)):
            return f"stacked with another its loss is {loss:.4g}, alone {expected:.4g}"
    return ""


def fitting_width(spec: RunSpec, device: torch.device, wanted: int) -> int:
    """VmapWidth of this shape that fit into the free memory of a GPU, at least 1 and at most as many as wanted."""
    if device.type != "cuda" or wanted <= 1:
        return wanted
    release(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    source = Source(spec.task, spec.seed, spec.train.train_examples)
    try:
        VmapStepper([spec], [source], device).step({0: source.training(0, spec.train.batch_size)}, {0: 0.0})
    except torch.OutOfMemoryError:
        return 1
    stored = torch.cuda.max_memory_allocated(device) - before
    release(device)
    return width_within(stored, torch.cuda.mem_get_info(device)[0], wanted)


def width_within(stored: int, free: int, wanted: int) -> int:
    """So many lanes, or fewer if the memory does not suffice.

    >>> bounded(held=100, free=1000, wanted=64), bounded(held=100, free=1000, wanted=4), bounded(900, 1000, 4)
    (8, 4, 1)
    """
    return max(1, min(wanted, int(SHARE * free) // max(1, stored)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device has no memory left."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in said for words in WORDS)
    )


def release(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def too_large_error(spec: RunSpec, device: torch.device, alone: Callable[[RunSpec, Source], Stepper]) -> DeviceError:
    """The error for a run that does not fit by itself, with the batch that would.

    Args:
        spec: The run.
        device: What it does not fit on.
        alone: Builds what takes its steps.
    """
    result = f"A batch of {spec.train.batch_size} does not fit into the memory of the device '{device.type}'."
    batch = spec.train.batch_size // 2
    while batch:
        smaller = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": batch})})
        if _steps(smaller, alone):
            hint = f"A step with a batch of {batch} fits: add --set train.batch={batch}."
            return DeviceError(result, hint, where=spec.summary)
        release(device)
        batch //= 2
    hint = "Not even one sequence does: make the model or the sequences smaller, or choose another --device."
    return DeviceError(result, hint, where=spec.summary)


def _steps(spec: RunSpec, alone: Callable[[RunSpec, Source], Stepper]) -> bool:
    """Whether a run can take one step."""
    source = Source(spec.task, spec.seed, spec.train.train_examples)
    try:
        stepper = alone(spec, source)
        stepper.step({0: source.training(0, spec.train.batch_size)}, {0: 0.0})
        stepper.losses()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
