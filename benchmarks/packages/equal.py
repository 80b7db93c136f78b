"""Our own mechanism beside that of a package, with the same weights.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from attnlab.attention import ATTENTIONS, Attention
from attnlab.position import POSITIONS
from attnlab.tensors import LayerContext, LayerInputs
from benchmarks.packages.case import Equal

PART = re.compile(r"^(?P<name>[\w.]+)(:(?P<index>\d+)/(?P<count>\d+))?(?P<change>-1)?$")
"""``name`` of a tensor, ``name:0/3`` for the first of three equal parts, ``name-1`` for a matrix less the identity."""


def our_attention(equal: Equal, theirs: nn.Module, context: LayerContext) -> Attention:
    """Build our mechanism with the weights of a module.

    Args:
        equal: What corresponds to what.
        theirs: The module of the package.
        context: The layer.

    Returns:
        The attention, in float64.

    Raises:
        ValueError: A weight of ours has no counterpart.
    """
    entry = ATTENTIONS.entry(equal.ours)
    ours = entry.cls(context, **entry.complete(equal.options)).double().eval()
    tensors = dict(ours.named_parameters())
    if set(tensors) != set(equal.copied):
        raise ValueError(f"no counterpart is named for {', '.join(sorted(set(tensors) ^ set(equal.copied)))}")
    with torch.no_grad():
        for name, source in equal.copied.items():
            tensors[name].copy_(_part(theirs, source).reshape(tensors[name].shape))
    return ours


@torch.no_grad()
def our_output(ours: Attention, context: LayerContext, x_BTD: Tensor) -> Tensor:
    """The output of our mechanism without a position.

    Args:
        ours: The attention.
        context: The layer.
        x_BTD: The input.

    Returns:
        B x T x D.
    """
    position = POSITIONS.entry("none").cls(context)
    return ours(x_BTD, position, LayerInputs()).output_BTD


def _part(module: nn.Module, source: str) -> Tensor:
    """A tensor of a module, or one of several equal parts of its first axis."""
    found = PART.match(source)
    if not found:
        raise ValueError(f"'{source}' is no name of a tensor")
    tensor = module.state_dict()[found["name"]].double()
    if found["change"]:
        return tensor.flatten(1) - torch.eye(len(tensor)).double()
    return tensor.chunk(int(found["count"]))[int(found["index"])] if found["count"] else tensor
