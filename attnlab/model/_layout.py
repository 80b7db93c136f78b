"""The memory of weights: each weight of a model holds every element once, in the order of its indices."""

from __future__ import annotations

from torch import nn


def make_contiguous(model: nn.Module) -> None:
    """Copy the weights that are views with other strides, such as transposes.

    torch's fused AdamW reads a weight and its gradient in the order of memory: with other strides an element would be
    moved by the gradient of another one (torch 2.13.0, on a CPU).

    Args:
        model: Its parameters are changed in place; their values stay the same.
    """
    for weight in model.parameters():
        if not weight.is_contiguous():
            weight.data = weight.data.contiguous()
