"""KERPLE: a learned penalty that grows as a logarithm or a power of the distance.

    s_ij <- s_ij - p_h ln(1 + a_h (i - j))    log
    s_ij <- s_ij - a_h (i - j)^p_h            power

Source   Chi et al., "KERPLE", arXiv:2205.09921, its two forms; initialization as in its code.
Theirs   r_1, r_2 -> our p, a (log);  r_1, r_2 -> our a, p (power).
Differs  p and a are smooth functions of unconstrained parameters: 0.01 + softplus, and for the power's p in [0.01, 2]
         a sigmoid. Their code clamps the parameters before every pass, which a pass without side effects cannot. The
         initial values are theirs, p ~ U(0, 2) and a ~ U(0, 1), but at least 0.01 from the bounds. Each layer has its
         own, as in the DAPE paper's code; KERPLE's code shares them.

Letters  B batch, L layers, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.position.base import Position, distance, register
from attnlab.tensors import QKV, LayerContext

LEAST, MOST = 0.01, 2.0
"""The lower bound of p and a, and the upper bound of the power's p."""


@register("kerple", source="arXiv:2205.09921")
@final
class Kerple(Position):
    """A penalty on the distance with two learned numbers per head and layer.

    Options:
        kind: ``log`` -p ln(1 + a d), or ``power`` -a d^p with p at most 2.
    """

    biases = True
    reads_scores = False

    def __init__(self, context: LayerContext, *, kind: Literal["log", "power"] = "log") -> None:
        super().__init__(context)
        self.kind = kind
        # A vector per layer, not one L x H matrix: weight decay applies to matrices.
        inverse_p = inverse_positive if kind == "log" else inverse_bounded
        self.p_LH = nn.ParameterList(inverse_p(initial_values(context, MOST)) for _ in range(context.layers))
        self.a_LH = nn.ParameterList(inverse_positive(initial_values(context, 1.0)) for _ in range(context.layers))

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The penalty, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device).to(scores_BHTS.dtype)
        free_p, free_a = (
            parameters[layer].to(scores_BHTS.dtype)[:, None, None] for parameters in (self.p_LH, self.a_LH)
        )
        if self.kind == "log":
            return -positive(free_p) * torch.log1p(positive(free_a) * distance_TS)
        # The gradient of d^p in p contains ln d, which is infinite at distance 0.
        power = distance_TS.clamp_min(1).pow(bounded(free_p))
        return -positive(free_a) * power.where(distance_TS > 0, 0.0)


def initial_values(context: LayerContext, most: float) -> Tensor:
    """Draw one number per head from U(0, most), clamped from below.

    Args:
        context: The sizes of the model and the generator.
        most: The upper bound.

    Returns:
        The numbers, at least ``2 * LEAST``, H.
    """
    return (context.uniform(context.heads, bound=most / 2).detach() + most / 2).clamp_min(2 * LEAST)


def positive(free: Tensor) -> Tensor:
    """Map unconstrained numbers to numbers above LEAST.

    Args:
        free: Any numbers.

    Returns:
        ``LEAST + softplus(free)``, in the same shape.
    """
    return LEAST + functional.softplus(free)


def inverse_positive(value: Tensor) -> nn.Parameter:
    """Make the parameter that ``positive`` maps to a value.

    Args:
        value: Numbers above LEAST.

    Returns:
        The unconstrained parameter, in the same shape.
    """
    return nn.Parameter((value - LEAST).expm1().log())


def bounded(free: Tensor) -> Tensor:
    """Map unconstrained numbers to numbers between LEAST and MOST.

    Args:
        free: Any numbers.

    Returns:
        ``LEAST + (MOST - LEAST) sigmoid(free)``, in the same shape.
    """
    return LEAST + (MOST - LEAST) * free.sigmoid()


def inverse_bounded(value: Tensor) -> nn.Parameter:
    """Make the parameter that ``bounded`` maps to a value.

    Args:
        value: Numbers above LEAST; clamped to ``MOST - LEAST``.

    Returns:
        The unconstrained parameter, in the same shape.
    """
    return nn.Parameter(((value.clamp_max(MOST - LEAST) - LEAST) / (MOST - LEAST)).logit())
