"""The initial values of decays ``log a = -exp(r) softplus(z + s)``, shared by the family of the delta rule."""

from __future__ import annotations

import math

from torch import nn

from attnlab.tensors import LayerContext


def decay_rates(context: LayerContext, count: int) -> nn.Parameter:
    """r: logarithms of numbers drawn from U(1, 16).

    Args:
        context: The source of the initial weights.
        count: How many.

    Returns:
        The parameter.
    """
    return nn.Parameter((8.5 + context.uniform(count, bound=7.5).detach()).log())


def decay_steps(context: LayerContext, count: int) -> nn.Parameter:
    """s: its softplus is drawn log-uniformly from 0.001 .. 0.1.

    Args:
        context: The source of the initial weights.
        count: How many.

    Returns:
        The parameter.
    """
    softplus = (math.log(0.01) + context.uniform(count, bound=math.log(10)).detach()).exp()
    return nn.Parameter(softplus.expm1().log())
