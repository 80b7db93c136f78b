"""The precision in which steps are computed. Weights, moments, predictions and all measurements are float32.

float32   full precision
tf32      factors of matrix products are rounded to ten mantissa bits; on NVIDIA GPUs
bf16      factors of linear maps are rounded to bfloat16, forward and backward; embedding, norms, residual stream,
          scores, normalizers and losses are float32 (:mod:`attnlab.attention.ops.precision`)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.choices import Precision
from attnlab.errors import DeviceError
from attnlab.model.module import NORMS
from attnlab.specs import RunSpec


def check_precision(specs: Iterable[RunSpec], device: str) -> None:
    """Refuse a precision that the device does not support.

    Args:
        specs: The runs to be trained.
        device: Type of the device: cpu, cuda or mps.

    Raises:
        DeviceError: A run asks for tf32 on another device than an NVIDIA GPU.
    """
    if device != "cuda" and any(spec.train.precision == "tf32" for spec in specs):
        problem = f"The precision tf32 needs an NVIDIA GPU; these runs are trained on the device '{device}'."
        raise DeviceError(problem, "Leave precision out, or set it to bf16.", where="train.precision")


def products(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Within this context, linear maps have the factors of the steps' precision.

    Args:
        precision: The precision of the steps; only ``bf16`` changes anything.
        device: Where they are computed.

    Returns:
        The context.
    """
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)  # each weight is used once a step


def keep_norms_exact(model: nn.Module, precision: Precision) -> None:
    """Give torch's own norms inputs of their weights' type: in a step in bf16 a linear map before them returns bf16.

    Args:
        model: The model; its norms are given a hook, if the precision is ``bf16``.
        precision: The precision of the steps.
    """
    if precision == "bf16":
        for module in model.modules():
            if isinstance(module, NORMS) and module.weight is not None:
                module.register_forward_pre_hook(_in_type_of_weight)


def _in_type_of_weight(norm: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert the input of a norm."""
    assert isinstance(norm.weight, Tensor)
    return (inputs[0].to(norm.weight.dtype), *inputs[1:])


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Within this context, matrix products of float32 have the precision of the steps.

    Args:
        precision: The precision of the steps; only ``tf32`` changes anything.

    Yields:
        Nothing.
    """
    if precision != "tf32":
        yield
        return
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(previous)
