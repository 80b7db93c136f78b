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


def has_bf16_products() -> bool:
    """Whether this processor has instructions for products of bf16 numbers (AVX-512 BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def automatic_precision() -> Precision:
    """The precision in which steps are fastest here without taking more of them: ``auto`` in settings.

    Returns:
        ``bf16`` where the device that this machine takes first has instructions for it, else ``float32``.
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bf16" if has_bf16_products() and not torch.backends.mps.is_available() else "float32"


def precision_notice(specs: Iterable[RunSpec], device: str) -> str:
    """Tell where a precision costs time.

    Args:
        specs: The runs to be trained.
        device: Type of the device: cpu, cuda or mps.

    Returns:
        A sentence; empty where there is nothing to tell.
    """
    if device != "cpu" or has_bf16_products() or all(spec.train.precision != "bf16" for spec in specs):
        return ""
    return "This processor has no instructions for bf16: steps are slower than in float32."


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
