"""Parallax: softmax attention with the correction of a local linear regression, whose slope a second query gives.

    o_i  = (1 + E_i) sum_j p_ij v_j - sum_j p_ij (r_i.k_j) v_j,   E_i = sum_j p_ij (r_i.k_j)
    A_ij = p_ij (1 + E_i - r_i.k_j)

with p the softmax of ``q_i.k_j / sqrt(C)`` and ``r = W_r x``; ``r.k`` is not divided by sqrt(C). Every row of A sums to
1, and an entry is negative where ``r_i.k_j`` exceeds its mean under p by more than 1. For r = 0 it is softmax.

Source   "Parallax", arXiv:2605.29157, Algorithm 1; flash-linear-attention's ``ops/parallax``.
Theirs   s2 -> our r.k;  d2 / d1 -> our E.
Differs  W_r starts smaller by sqrt(C) (ours), so that r.k starts at the size of the scores. A position rotates r as it
         rotates the queries, and a bias of a position is added to the scores of p alone; their layer has no positions.
         qk_norm leaves r as it is, where theirs normalizes it too.

Letters  B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any, final

from torch import Tensor

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.looped import looped, suits
from attnlab.rotation import Rotation
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("parallax", source="arXiv:2605.29157")
@final
class Parallax(Attention):
    """Softmax attention corrected to first order in the keys, along a second query of each token."""

    row_constraint = RowConstraint.SIGNED
    plain_products = False  # the slope r.k has signs

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.slope = context.linear(context.width, context.width, gain=1 / math.sqrt(context.channels))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``5 D^2``."""
        return 5 * width**2

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and r, the second queries of all tokens."""
        return super().project(x_BTD, layer_inputs)._replace(extra=(self.split(self.slope(x_BTD)),))

    def rotated(self, qkv: QKV, rotation: Rotation) -> QKV:
        """Queries and keys rotated by their position, and r as the queries."""
        return super().rotated(qkv, rotation)._replace(extra=(rotation.rotate(qkv.extra[0]),))

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; over all queries and without a bias by compiled loops, where they are usable."""
        tensors = qkv.queries_BHTC, qkv.keys_BHSC, *qkv.extra, qkv.values_BHSC
        if not self.fast or self.biased or not suits(*tensors):
            return super().attend(qkv, position)
        from attnlab.attention.ops.parallax_loops import ParallaxLoops

        return looped(ParallaxLoops(), *tensors)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The softmax times ``1 + E - r.k``."""
        weights_BHTS = super().normalize(scores, mask, qkv)
        slopes_BHTC = qkv.extra[0][..., qkv.start : qkv.start + scores.shape[-2], :]
        keys_BHSC = at_least_float32(qkv.keys_BHSC)
        slopes_BHTC = at_least_float32(slopes_BHTC)
        mean_BHT1 = (slopes_BHTC * (weights_BHTS @ keys_BHSC)).sum(-1, keepdim=True)
        return weights_BHTS * (1 + mean_BHT1 - slopes_BHTC @ keys_BHSC.mT)
