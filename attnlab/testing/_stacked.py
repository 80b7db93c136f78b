"""Whether models of an attention can be stacked into one program, as vmapped runs are trained and evaluated.

    evaluate   outputs in evaluation mode, without a gradient
    train      gradients in training mode; of a module that draws random numbers, only that they are finite

A module that cannot be stacked is trained all the same, one run after the other: ``--vmap auto`` does so by itself.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from attnlab.attention import Attention
from attnlab.plugins import describe_exception
from attnlab.tensors import LayerInputs
from attnlab.testing._subject import Subject, build_position, max_difference, random_inputs, run
from attnlab.training.batched_sdpa import BatchedSDPAMode
from attnlab.training.vmap_noise import RunNoise, is_refused_draw
from attnlab.training.vmap_width import learned_types

LIBRARY = str(Path(__file__).parent.parent)
TOLERANCE = 1e-8
"""Largest difference between a stacked and a single model in float64."""


class Differences(NamedTuple):
    """The largest differences between stacked and single models."""

    outputs: float
    gradients: float


def vmap_obstacle(subject: Subject) -> str:
    """Find why models of an attention cannot be stacked.

    Args:
        subject: The attention.

    Returns:
        The reason; empty if they can be.
    """
    if "vmap" not in subject.found:
        subject.found["vmap"] = _obstacle(subject)
    return subject.found["vmap"]


def _obstacle(subject: Subject) -> str:
    types = learned_types(subject.build(dtype=torch.float32))
    if others := [kind for kind in types if kind != "float32"]:
        return f"its weights are {' and '.join(others)}, and those of the model float32"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            found = vmap_differences(subject)
    except Exception as error:
        head, _, location = describe_exception(error).partition("\n")
        inside = location.startswith(f"at {LIBRARY}") or "site-packages" in location
        return head.rstrip(".") if inside else f"{head}\n{location}"  # only a line of the user's own says more
    if not all(one < subject.tolerance(TOLERANCE) for one in found):
        return (
            f"stacked with another model its outputs differ by {found.outputs:.1e}, gradients by {found.gradients:.1e}"
        )
    return ""


def vmap_differences(subject: Subject) -> Differences:
    """Compare two stacked models with the same models alone.

    Args:
        subject: The attention.

    Returns:
        The largest differences.

    Raises:
        Exception: Whatever torch raises where an operation cannot be stacked.
    """
    models = [subject.build(seed=seed) for seed in (0, 1)]
    for model in models:
        model.fast = False
    x_BTD = random_inputs(2, 11, dtype=subject.dtype)
    no_position = build_position()

    def single(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        inputs = x_BTD, no_position, LayerInputs()
        return functional_call(models[0], (parameters, buffers), inputs).output_BTD

    with BatchedSDPAMode(), torch.no_grad():
        outputs = vmap(single)(*stack_module_state(models))
    worst = max(max_difference(outputs[index], run(model, x_BTD)) for index, model in enumerate(models))
    for model in models:
        model.train()
    parameters, buffers = stack_module_state(models)

    def gradients(randomness: str) -> dict[str, Tensor]:
        stacked_models = vmap(single, randomness=randomness)
        with BatchedSDPAMode():
            return torch.func.grad(lambda stacked: stacked_models(stacked, buffers).square().sum())(parameters)

    try:
        grads = gradients("error")
    except RuntimeError as error:
        if not is_refused_draw(error):
            raise
        with RunNoise([0, 1]):  # a stacked run may draw other numbers than it draws alone
            grads = gradients("different")
        finite = all(bool(grad.isfinite().all()) for grad in grads.values())
        return Differences(worst, 0.0 if finite else math.nan)
    return Differences(worst, _gradient_difference(grads, models[1], x_BTD))


def _gradient_difference(grads: dict[str, Tensor], model: Attention, x_BTD: Tensor) -> float:
    """The largest difference between the gradients of the second stacked model and those of the model alone."""
    run(model, x_BTD).square().sum().backward()
    own = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return max((max_difference(grads[name][1], gradient) for name, gradient in own.items()), default=0.0)
