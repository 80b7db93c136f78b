"""Performer: softmax attention estimated by random positive features (FAVOR+).

    A_ij = f(q_i).f(k_j) / sum_{s <= i} f(q_i).f(k_s)
    f(x) = exp(W x' - |x'|^2 / 2) / sqrt(F),   x' = x / C^(1/4)

The expectation of ``f(q).f(k)`` over W is ``exp(q.k / sqrt C)``. The rows of W are orthogonal in groups of C, with the
lengths of Gaussian vectors of C numbers; without those lengths the estimate is biased. W is drawn once, from the
generator of the initial weights, and is not learned.

Source   Choromanski et al., "Rethinking attention with Performers", arXiv:2009.14794, sections 2.3 and 2.4.
Theirs   omega -> our W;  m = C ln C -> our F;  phi -> our f.
Differs  the shift that keeps the exponential finite is not one maximum over all keys, which would depend on later
         keys, but a running maximum per feature, passed to the scan as a decay: it cancels exactly, and no row
         vanishes. Terms of the query alone (its length, its own shift) cancel in the row. W is not drawn anew in
         training. The package performer-pytorch adds 1e-4 to each feature, with which rows are flatter.

Letters  B batch, H heads, T queries, S keys, C channels per head, F features.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import RowConstraint, register
from attnlab.attention.ops.scan import CHANNEL_CHUNK, Recurrence, Recurrent
from attnlab.tensors import QKV, LayerContext


@register("performer", source="arXiv:2009.14794, sections 2.3 and 2.4", aliases=("favor",))
@final
class Performer(Recurrent):
    """Normalized linear attention with random features of the exponential.

    Options:
        features: F; null is C ln C, rounded up.
    """

    row_constraint = RowConstraint.STOCHASTIC
    cost = "T D F"
    normalized: ClassVar[bool] = True
    chunk: ClassVar[int] = CHANNEL_CHUNK
    frequency_HFC: Tensor

    def __init__(self, context: LayerContext, *, features: Annotated[int, Field(ge=1)] | None = None) -> None:
        super().__init__(context)
        count = features or max(1, math.ceil(context.channels * math.log(context.channels)))
        self.register_buffer("frequency_HFC", frequencies(context, count))

    @property
    def num_features(self) -> int:
        """F random features; their running maxima cancel exactly."""
        return self.frequency_HFC.shape[-2]

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Features relative to their running maximum; the state of a feature decays where the maximum grows."""
        queries, keys = self.logarithms(qkv.queries_BHTC), self.logarithms(qkv.keys_BHSC)
        keys = keys - qkv.keys_BHSC.square().sum(-1, keepdim=True) / (2 * math.sqrt(qkv.keys_BHSC.shape[-1]))
        largest = keys.detach().cummax(-2).values
        decay = -torch.diff(largest, dim=-2, prepend=largest[..., :1, :])
        queries = queries + largest[..., qkv.start : qkv.start + queries.shape[-2], :]
        return Recurrence((queries - queries.detach().amax(-1, keepdim=True)).exp(), (keys - largest).exp(), decay)

    def logarithms(self, x_BHTC: Tensor) -> Tensor:
        """Compute the logarithm of the features of queries, ``W x'``.

        Args:
            x_BHTC: Queries or keys.

        Returns:
            B x H x T x F.
        """
        return x_BHTC / x_BHTC.shape[-1] ** 0.25 @ self.frequency_HFC.to(x_BHTC.dtype).mT


def frequencies(context: LayerContext, count: int) -> Tensor:
    """Draw W: rows orthogonal in groups of C, with the lengths of Gaussian vectors.

    Args:
        context: The layer that the attention is built for, with the generator.
        count: F.

    Returns:
        H x F x C.
    """
    channels = context.channels
    groups = math.ceil(count / channels)
    gaussian = context.normal(2, context.heads, groups, channels, channels, std=1.0).detach()
    orthogonal, upper = torch.linalg.qr(gaussian[0])
    directions = (orthogonal * upper.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]).mT
    return (directions * gaussian[1].norm(dim=-1, keepdim=True)).flatten(1, 2)[:, :count].contiguous()
