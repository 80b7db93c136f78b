"""FIRE: a small network reads the distance as a share of how far back a query can look.

    s_ij <- s_ij + MLP( psi(i - j) / (psi(max(i, |m| L0)) + eps) )_h
    psi(x) = ln(|c| x + 1)

The share lies in [0, 1] at every length, so that longer sequences ask the network nothing new.

Source   Li et al., "Functional interpolation for relative positions", arXiv:2310.04418, as read in the code of the
         DAPE paper (arXiv:2405.14722).
Theirs   mu -> our m;  L -> our m L0;  their 1 -> 32 -> H network, its starts, c = 0.1, mu = 1, L0 = 512 and
         eps = 1e-6 are ours too.
Differs  in nothing; each layer has a network, c and m of its own, as there.

Letters  B batch, L layers, H heads, T queries, S keys, W hidden channels.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.position.base import Position, distance, register
from attnlab.tensors import QKV, LayerContext

EPSILON = 1e-6


@register("fire", source="arXiv:2310.04418")
@final
class Fire(Position):
    """A learned function of the relative share of the distance, for each layer.

    Options:
        width: Hidden channels of the network.
        threshold: L0: queries before m times this place share one scale.
    """

    biases = True
    reads_scores = False

    def __init__(
        self,
        context: LayerContext,
        *,
        width: Annotated[int, Field(ge=1)] = 32,
        threshold: Annotated[float, Field(gt=0)] = 512.0,
    ) -> None:
        super().__init__(context)
        self.curves = nn.ModuleList(Curve(context, width, threshold) for _ in range(context.layers))

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """What the layer's network makes of each share, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        far_TS = distance(queries, keys, qkv.start, scores_BHTS.device).to(scores_BHTS.dtype)
        return self.curves[layer](far_TS, qkv.start)


@final
class Curve(nn.Module):
    """One layer's network, 1 -> W -> H, with PyTorch's default initialization.

    Args:
        context: Where it stands.
        width: W.
        threshold: L0.
    """

    def __init__(self, context: LayerContext, width: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.rate, self.reach = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(1.0))
        bound = 1 / math.sqrt(width)
        self.rise_W, self.rise_bias_W = context.uniform(width, bound=1.0), context.uniform(width, bound=1.0)
        self.fall_HW, self.fall_bias_H = (
            context.uniform(context.heads, width, bound=bound),
            context.uniform(context.heads, bound=bound),
        )

    def forward(self, far_TS: Tensor, start: int) -> Tensor:
        """Distances to biases, H x T x S; the first query stands at ``start``."""
        rise_W, rise_bias_W, fall_HW, fall_bias_H = (
            stored.to(far_TS.dtype) for stored in (self.rise_W, self.rise_bias_W, self.fall_HW, self.fall_bias_H)
        )
        hidden_TSW = (self.share(far_TS, start)[..., None] * rise_W + rise_bias_W).relu()
        return functional.linear(hidden_TSW, fall_HW, fall_bias_H).movedim(-1, -3)

    def share(self, far_TS: Tensor, start: int) -> Tensor:
        """The distance as a share of the place of the query, between 0 and 1."""
        rate, reach = self.rate.to(far_TS.dtype).abs(), self.reach.to(far_TS.dtype).abs()
        place_T1 = torch.arange(start, start + far_TS.shape[0], dtype=far_TS.dtype, device=far_TS.device)[:, None]
        whole_T1 = torch.maximum(place_T1, reach * self.threshold)
        return (rate * far_TS).log1p() / ((rate * whole_T1).log1p() + EPSILON)
