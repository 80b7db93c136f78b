"""The precision in which steps are computed. Weights, moments, answers and whatever is measured are float32 always.

float32   as it stands
tf32      factors of matrix products keep ten bits behind the point; on NVIDIA's GPUs
bf16      forward and back on bfloat16 copies of the weights; scores, normalizers and losses stay float32
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from attnlab.errors import DeviceError
from attnlab.model.transformer import ModelOutput, Transformer
from attnlab.specs import Precision, RunSpec


def check_precision(specs: Iterable[RunSpec], device: str) -> None:
    """Refuse a precision that a kind of device has not.

    Raises:
        DeviceError: with what it has.
    """
    if device != "cuda" and any(spec.train.precision == "tf32" for spec in specs):
        result = f"tf32 is a precision of NVIDIA's GPUs, and the steps would be taken on: {device}."
        raise DeviceError(result, "Leave precision out, or set it to bf16.", where="train.precision")


def cast_parameters(tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Copies in the precision of the steps, through which gradients find their way back."""
    if precision != "bf16":
        return dict(tensors)
    return {name: stored.bfloat16() if stored.is_floating_point() else stored for name, stored in tensors.items()}


def forward_in_bf16(model: Transformer, inputs_BT: Tensor, positions: Tensor | None) -> ModelOutput:
    """What a model answers in bf16; its logits are float32."""
    own = cast_parameters(dict([*model.named_parameters(), *model.named_buffers()]), "bf16")
    answer: ModelOutput = torch.func.functional_call(model, own, (inputs_BT, positions))
    return answer._replace(logits_NV=answer.logits_NV.float(), auxiliary=answer.auxiliary.float())


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """While it is open, matrix products of float32 are as exact as the precision asks."""
    if precision != "tf32":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
