"""Random numbers that an attention draws in training, such as those of dropout."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from attnlab.attention import Attention
from attnlab.position import Position
from attnlab.testing._seeds import seeded
from attnlab.testing._subject import random_inputs, run


@torch.no_grad()
def is_random(
    attention: Attention,
    width: int,
    position: Position | None = None,
    dtype: torch.dtype = torch.float64,
    tokens: int = 7,
) -> bool:
    """Whether the outputs depend on the state of torch's global generator.

    Args:
        attention: The attention, in the mode in question.
        width: D.
        position: The position of the model; None is no position.
        dtype: Type of its weights.
        tokens: T.

    Returns:
        Whether two seeds give different outputs.
    """
    x_BTD = random_inputs(2, tokens, width=width, dtype=dtype)
    outputs = []
    for seed in (0, 1):
        with seeded(seed):
            outputs.append(run(attention, x_BTD, position))
    return not torch.equal(*outputs)


def dropout_modules(attention: nn.Module) -> list[str]:
    """The modules that drop out, each with its name and probability.

    Args:
        attention: The attention.

    Returns:
        Descriptions, such as ``Dropout(0.5) 'drop'``; empty where none is of torch.
    """
    found = []
    for name, module in attention.named_modules():
        kinds = {_DropoutNd: "p", nn.MultiheadAttention: "dropout"}
        for kind, field in kinds.items():
            if isinstance(module, kind) and getattr(module, field) > 0:
                found.append(f"{type(module).__name__}({getattr(module, field):g}) '{name}'")
    return found
