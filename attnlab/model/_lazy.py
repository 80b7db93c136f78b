"""Lazy layers, such as ``nn.LazyLinear``: they get their sizes from one forward pass when the model is built."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from attnlab.errors import InvalidValueError
from attnlab.model.modes import evaluation_mode


def initialize_lazy(model: nn.Module, length: int) -> None:
    """Give lazy layers their sizes by a forward pass over one sequence of zeros; a model without any is not run.

    The pass is in evaluation mode and without gradients, so that it changes nothing else. The layers draw their weights
    from torch's global generator, as other layers of torch do.

    Args:
        model: Takes token ids, B x T, and query positions.
        length: T, the longest sequence of the run, in tokens.

    Raises:
        InvalidValueError: A lazy layer is not part of the forward pass.
    """
    if not _without_size(model):
        return
    with torch.no_grad(), evaluation_mode(model):
        model(torch.zeros(1, length, dtype=torch.int64), None)
    if unused := _without_size(model):
        problem = f"'{unused[0]}' has no size: it is lazy, and no forward pass uses it."
        raise InvalidValueError(problem, "Give its layer the size of its input, or remove the layer.")


def _without_size(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that have no size yet."""
    return [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if is_lazy(tensor)]
