"""FIRE: a small MLP of the distance relative to the position of the query.

    s_ij <- s_ij + MLP( psi(i - j) / (psi(max(i, |m| L0)) + eps) )_h
    psi(x) = ln(|c| x + 1)

The input lies in [0, 1] at every length, so that longer sequences give the MLP no new inputs.

Source   Li et al., "Functional interpolation for relative positions", arXiv:2310.04418, as read in the code of the
         DAPE paper (arXiv:2405.14722).
Theirs   mu -> our m;  L -> our m L0;  their 1 -> 32 -> H network, its initialization, c = 0.1, mu = 1, L0 = 512 and
         eps = 1e-6 are ours too.
Differs  in nothing; each layer has its own MLP, c and m, as there.

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
    """A learned function of the relative distance, one per layer.

    Options:
        width: Hidden channels of the MLP.
        threshold: L0: distances are relative to the position of the query, but to at least m L0.
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
        self.curves = nn.ModuleList(DistanceMlp(context, width, threshold) for _ in range(context.layers))

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The output of the layer's MLP, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device).to(scores_BHTS.dtype)
        return self.curves[layer](distance_TS, qkv.start)


@final
class DistanceMlp(nn.Module):
    """The MLP of one layer, 1 -> W -> H, with PyTorch's default initialization.

    Args:
        context: The sizes of the model.
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

    def forward(self, distance_TS: Tensor, start: int) -> Tensor:
        """Compute the bias of each head.

        Args:
            distance_TS: Distances in tokens.
            start: Position of the first query, from 0.

        Returns:
            The bias, H x T x S.
        """
        up_W, up_bias_W, down_HW, down_bias_H = (
            weight.to(distance_TS.dtype) for weight in (self.rise_W, self.rise_bias_W, self.fall_HW, self.fall_bias_H)
        )
        hidden_TSW = (self.relative_distance(distance_TS, start)[..., None] * up_W + up_bias_W).relu()
        return functional.linear(hidden_TSW, down_HW, down_bias_H).movedim(-1, -3)

    def relative_distance(self, distance_TS: Tensor, start: int) -> Tensor:
        """Compute the distance relative to the position of the query, on the logarithmic scale psi.

        Args:
            distance_TS: Distances in tokens.
            start: Position of the first query, from 0.

        Returns:
            Numbers between 0 and 1, T x S.
        """
        rate, reach = self.rate.to(distance_TS.dtype).abs(), self.reach.to(distance_TS.dtype).abs()
        position_T1 = torch.arange(
            start, start + distance_TS.shape[0], dtype=distance_TS.dtype, device=distance_TS.device
        )[:, None]
        normalizer_T1 = torch.maximum(position_T1, reach * self.threshold)
        return (rate * distance_TS).log1p() / ((rate * normalizer_T1).log1p() + EPSILON)
