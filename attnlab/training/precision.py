"""The precision in which steps are computed. Weights, moments, predictions and all measurements are float32.

float32   full precision
tf32      factors of matrix products are rounded to ten mantissa bits; on NVIDIA GPUs
bf16      forward and backward pass on bfloat16 copies of the weights; scores, normalizers and losses stay float32
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from attnlab.choices import Precision
from attnlab.errors import DeviceError
from attnlab.model.base import Model, ModelOutput
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


def cast_parameters(tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Copy parameters and buffers to the precision of the steps; gradients flow back through the copies.

    Args:
        tensors: Parameters and buffers, by name.
        precision: The precision of the steps.

    Returns:
        The tensors by name: floating-point ones as bfloat16 copies for ``bf16``, otherwise the tensors themselves.
    """
    if precision != "bf16":
        return dict(tensors)
    return {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def forward_in_bf16(model: Model, inputs_BT: Tensor, positions: Tensor | None) -> ModelOutput:
    """Run a forward pass on bfloat16 copies of the weights.

    Args:
        model: The model, with weights in float32.
        inputs_BT: Input tokens, B x T.
        positions: The query positions, as :meth:`Model.forward` takes them; None for all positions.

    Returns:
        The output of the model; logits and auxiliary loss are float32.
    """
    copies = cast_parameters(dict([*model.named_parameters(), *model.named_buffers()]), "bf16")
    output: ModelOutput = torch.func.functional_call(model, copies, (inputs_BT, positions))
    return output._replace(logits_NV=output.logits_NV.float(), auxiliary=output.auxiliary.float())


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
