"""KERPLE: a learned penalty that grows as a logarithm or a power of the distance.

    s_ij <- s_ij - p_h ln(1 + a_h (i - j))    log
    s_ij <- s_ij - a_h (i - j)^p_h            power

Source   Chi et al., "KERPLE", arXiv:2205.09921, the two forms it names; starts as in its code.
Theirs   r_1, r_2 -> our p, a (log);  r_1, r_2 -> our a, p (power).
Differs  p and a are kept in range by smooth maps of free numbers: 0.01 + softplus, and for the power's p in [0.01, 2]
         a sigmoid. Their code clamps the numbers themselves before every pass, which a pass without side effects
         cannot. Starts are theirs, p ~ U(0, 2) and a ~ U(0, 1), kept 0.01 off the ends. Each layer has its own, as
         in the DAPE paper's code; KERPLE's code shares them.

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
"""The least p and a, and the most p of the power."""


@register("kerple", source="arXiv:2205.09921")
@final
class Kerple(Position):
    """Two learned numbers per head and layer shape a penalty on distance.

    Options:
        kind: ``log`` -p ln(1 + a d), or ``power`` -a d^p with p at most 2.
    """

    biases = True
    reads_scores = False

    def __init__(self, context: LayerContext, *, kind: Literal["log", "power"] = "log") -> None:
        super().__init__(context)
        self.kind = kind
        # A vector for each layer, not one L x H matrix: matrices decay.
        free_p = free_positive if kind == "log" else free_bounded
        self.p_LH = nn.ParameterList(free_p(drawn(context, MOST)) for _ in range(context.layers))
        self.a_LH = nn.ParameterList(free_positive(drawn(context, 1.0)) for _ in range(context.layers))

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The penalty, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        far_TS = distance(queries, keys, qkv.start, scores_BHTS.device).to(scores_BHTS.dtype)
        free_p, free_a = (stored[layer].to(scores_BHTS.dtype)[:, None, None] for stored in (self.p_LH, self.a_LH))
        if self.kind == "log":
            return -positive(free_p) * torch.log1p(positive(free_a) * far_TS)
        # The slope of d^p in p holds ln d, which distance 0 must not meet.
        power = far_TS.clamp_min(1).pow(bounded(free_p))
        return -positive(free_a) * power.where(far_TS > 0, 0.0)


def drawn(context: LayerContext, most: float) -> Tensor:
    """One number per head from U(0, most), kept off the least that is allowed."""
    return (context.uniform(context.heads, bound=most / 2).detach() + most / 2).clamp_min(2 * LEAST)


def positive(free: Tensor) -> Tensor:
    """Any number to one above LEAST."""
    return LEAST + functional.softplus(free)


def free_positive(value: Tensor) -> nn.Parameter:
    """What ``positive`` makes the value of."""
    return nn.Parameter((value - LEAST).expm1().log())


def bounded(free: Tensor) -> Tensor:
    """Any number to one between LEAST and MOST."""
    return LEAST + (MOST - LEAST) * free.sigmoid()


def free_bounded(value: Tensor) -> nn.Parameter:
    """What ``bounded`` makes the value of."""
    return nn.Parameter(((value.clamp_max(MOST - LEAST) - LEAST) / (MOST - LEAST)).logit())
