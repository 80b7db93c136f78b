"""How many runs are stacked: what can be stacked, what the memory permits, and what the device refuses.

memory      runs = share * free memory / peak memory of one step of one run
refused     the group is halved until it fits or is a single run
single run  the error names the largest batch, of those halved, with which a step fits
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from attnlab.errors import AttnlabError, DeviceError
from attnlab.plugins import describe_exception
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training._noise import noise_of_its_own
from attnlab.training.stepper import Stepper, predict_batch
from attnlab.training.vmap_stepper import VmapStepper, initial_model

VmapWidth = int | Literal["auto"]
"""Number of runs that are stacked into one program."""
MAX_AUTO_WIDTH = 64
"""The most runs that ``auto`` stacks: more of them hardly make each one cheaper."""
MEMORY_SHARE = 0.8
"""Share of the free memory that steps may use; evaluation and the allocator need the rest."""
TOLERANCE = 1e-3
"""The largest difference between the stacked and the single loss of a run, relative to the loss or to 1."""
OUT_OF_MEMORY_PHRASES = ("out of memory", "can't allocate memory")
"""Parts of the messages of devices that raise a plain RuntimeError."""


def max_width(vmap: VmapWidth, device: str) -> int:
    """Find how many runs may be stacked on a type of device, whatever fits; ``auto`` stacks none on a CPU.

    Args:
        vmap: The user's choice.
        device: Type of the device: cpu, cuda or mps.

    Returns:
        Number of runs.
    """
    if vmap == "auto":
        return MAX_AUTO_WIDTH if device == "cuda" else 1
    return vmap


def vmap_obstacle(spec: RunSpec, device: torch.device) -> str:
    """Find why runs of a shape cannot be stacked into one program.

    Two runs take a step on two sequences each, and their losses are compared with those of each model alone. Where a
    program draws or keeps running averages, so that a step differs from an evaluation, it is evaluations that are
    compared.

    Args:
        spec: One run of the shape.
        device: Where the step is taken.

    Returns:
        The reason; empty if they can be stacked.
    """
    pair = [spec, spec.model_copy(update={"seed": spec.seed + 1})]
    sources = [Source(one.task, one.seed, one.train.train_examples, one.train.max_steps) for one in pair]
    batches = {index: source.training(0, 2) for index, source in enumerate(sources)}
    questions = {run: max(1, len(batch.query_positions())) for run, batch in batches.items()}
    try:
        if len(types := learned_types(initial_model(spec, sources[0]))) > 1:
            return f"its weights have several types, {' and '.join(types)}, and one block has one"
        with noise_of_its_own(device):
            stepper = VmapStepper(pair, sources, device)
            alone = {run: float(predict_batch(stepper.model_of(run), batches[run], -1, device)[1]) for run in batches}
            stepper.step(batches, {0: 0.0, 1: 0.0})  # the first step draws positions as the predictions above do
            stacked = {run: losses[0] * questions[run] for run, losses in stepper.losses().items()}
            if stepper.random or stepper.changing:
                each = {run: [batch] for run, batch in batches.items()}
                alone = {run: stepper.predict(run, own)[0].loss_sum for run, own in each.items()}
                stacked = {run: own[0].loss_sum for run, own in stepper.predict_each(each).items()}
    except (AttnlabError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        return describe_exception(error).splitlines()[0]
    for run, nats in alone.items():
        loss, expected = stacked[run] / questions[run], nats / questions[run]
        if not abs(loss - expected) <= TOLERANCE * max(1.0, abs(expected)):  # nan is close to nothing
            return f"stacked with another run its loss is {loss:.4g}, alone {expected:.4g}"
    return ""


def learned_types(model: nn.Module) -> list[str]:
    """List the types of a model's learned weights.

    Args:
        model: The model.

    Returns:
        Their names in torch, in order.
    """
    return sorted({str(weight.dtype).removeprefix("torch.") for weight in model.parameters() if weight.requires_grad})


def fitting_width(spec: RunSpec, device: torch.device, requested: int) -> int:
    """Find how many runs of a shape fit into the free memory of a GPU, from the peak memory of one step of one run.

    Args:
        spec: One run of the shape.
        device: Where they are trained.
        requested: The most runs to stack.

    Returns:
        Number of runs, at least 1 and at most ``requested``; on other devices ``requested``.
    """
    if device.type != "cuda" or requested <= 1:
        return requested
    release_memory(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    source = Source(spec.task, spec.seed, spec.train.train_examples, spec.train.max_steps)
    try:
        VmapStepper([spec], [source], device).step({0: source.training(0, spec.train.batch_size)}, {0: 0.0})
    except torch.OutOfMemoryError:
        return 1
    peak = torch.cuda.max_memory_allocated(device) - before
    release_memory(device)
    return width_within(peak, torch.cuda.mem_get_info(device)[0], requested)


def width_within(peak: int, free: int, requested: int) -> int:
    """Find how many runs fit into an amount of memory.

    >>> width_within(peak=100, free=1000, requested=64), width_within(100, 1000, 4), width_within(900, 1000, 4)
    (8, 4, 1)

    Args:
        peak: Peak memory of one step of one run, in bytes.
        free: Free memory, in bytes.
        requested: The most runs to stack.

    Returns:
        Number of runs, at least 1 and at most ``requested``.
    """
    return max(1, min(requested, int(MEMORY_SHARE * free) // max(1, peak)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device has no memory left.

    Args:
        error: Any error.

    Returns:
        Whether it does.
    """
    message = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(phrase in message for phrase in OUT_OF_MEMORY_PHRASES)
    )


def release_memory(device: torch.device) -> None:
    """Free the memory of unreachable objects and of the allocator's cache.

    Args:
        device: The device; only a GPU has a cache.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def too_large_error(
    spec: RunSpec, device: torch.device, make_stepper: Callable[[RunSpec, Source], Stepper]
) -> DeviceError:
    """Make the error for a run that does not fit by itself; it names the batch size that would.

    Args:
        spec: The run.
        device: The device that it does not fit on.
        make_stepper: Makes the stepper of one run.

    Returns:
        The error, to be raised.
    """
    problem = f"A batch of {spec.train.batch_size} does not fit into the memory of the device '{device.type}'."
    batch_size = spec.train.batch_size // 2
    while batch_size:
        smaller = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": batch_size})})
        if _can_step(smaller, make_stepper):
            hint = f"A step with a batch of {batch_size} fits: add --set train.batch_size={batch_size}."
            return DeviceError(problem, hint, where=spec.summary)
        release_memory(device)
        batch_size //= 2
    hint = "Not even one sequence fits: use a smaller model or shorter sequences, or choose another --device."
    return DeviceError(problem, hint, where=spec.summary)


def _can_step(spec: RunSpec, make_stepper: Callable[[RunSpec, Source], Stepper]) -> bool:
    """Whether a run can take one step."""
    source = Source(spec.task, spec.seed, spec.train.train_examples, spec.train.max_steps)
    try:
        stepper = make_stepper(spec, source)
        stepper.step({0: source.training(0, spec.train.batch_size)}, {0: 0.0})
        stepper.losses()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
