"""Signed weights without a fixed row sum: the baselines of GPAM, and the related Cog attention.

    cog   A_ij = sign(s_ij) exp|s_ij| / sum_{k <= i} exp|s_ik|
    nap   A_ij = g_h z_ij + b_h,   z_ij = (s_ij - mean_i) / (sd_i + 0.001)
    non   A_ij = s_ij / sqrt(n_i)
    coda  A_ij = tanh(s_ij) * 2 sigmoid(-|q_i - k_j|_1 / sqrt(C))

with mean_i and sd_i (of a population) over the n_i = i + 1 keys of row i, i from 0.

Source   cog: Lv et al., arXiv:2411.07176; nap, non: Richter and Wattenhofer, "Normalized attention without
         probability cage", arXiv:2005.09561, and their code; coda: Tay et al., "Compositional de-attention
         networks", NeurIPS 2019, as third-party code has it: the authors' own was not available.
Theirs   E, N -> our s and minus distance (coda);  gain and bias, initially 1 and 0 -> our g_h, b_h (nap).
Differs  scores are q.k / sqrt(C) everywhere; nap's TensorFlow code leaves the root out, which matters relative to the
         0.001 only. Means, deviations and roots are those of each row's own keys, not of T. A position's bias is added
         to s in nap and non, to |s| in cog and to minus the distance in coda, where adding it to s would make a penalty
         on far keys raise their weights; rotary positions rotate the vectors of coda's distance too. Cog's paper is
         said to use softmax in its first and last layers: use a stack of attentions for that. Coda's other forms (the
         mean subtracted from the distance, scales on both factors) are not offered.

Letters  B batch, 2 the components of a score, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.attention.ops.rowwise import center_rows
from attnlab.tensors import QKV, LayerContext, masked_softmax

EPSILON = 1e-3
"""The number that nap adds to the standard deviation."""


@register("cog", source="arXiv:2411.07176")
@final
class Cog(Attention):
    """Softmax of the absolute scores, times their signs: the absolute weights of a row sum to one."""

    row_constraint = RowConstraint.FREE

    @property
    def score_maps(self) -> int:
        """Two per head."""
        return 2 * self.num_heads

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores, and absolute scores with the position's bias, on an axis before the heads, B x 2 x H x T x S."""
        return torch.stack([scores, super().add_bias(scores.abs(), bias, qkv)], dim=-4)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Signs times softmax, B x H x T x S; a score of zero has weight zero."""
        signed, absolute = scores.unbind(-4)
        return signed.sign() * masked_softmax(absolute, mask)


@register("nap", source="arXiv:2005.09561")
@final
class Nap(Attention):
    """Scores of mean zero and unit deviation in each row, with a gain and a bias per head.

    The first row has one score and no deviation: its weight is b_h, initially zero.
    """

    hides_keys = False
    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.gain_H = nn.Parameter(torch.ones(context.heads))
        self.bias_H = nn.Parameter(torch.zeros(context.heads))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 2 H``."""
        return 4 * width**2 + 2 * heads

    def state_size(self, tokens: int) -> int:
        """Without a bias, sums of keys, their products, values, and keys times values; else a cache."""
        if self.biased:
            return super().state_size(tokens)
        return self.num_heads * (self.channels + self.channels * (self.channels + 1) // 2) + (
            self.value.out_features * (self.channels + 1)
        )

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Standardized scores of the allowed keys, times the gain plus the bias, B x H x T x S."""
        centered, deviation = center_rows(scores, mask)
        standard = centered / (deviation + EPSILON)
        return (self.gain_H[:, None, None] * standard + self.bias_H[:, None, None]).masked_fill(~mask, 0.0)


@register("non", source="arXiv:2005.09561")
@final
class Non(Attention):
    """Scores divided by the square root of the number of keys of the row."""

    hides_keys = False
    row_constraint = RowConstraint.FREE

    def state_size(self, tokens: int) -> int:
        """Without a bias, the sum of keys times values, C x C numbers per head; else a cache."""
        return super().state_size(tokens) if self.biased else self.key.out_features * self.channels

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Scores of the allowed keys over the square root of their number, B x H x T x S."""
        count = mask.sum(-1, keepdim=True, dtype=scores.dtype).clamp_min(1)
        return scores.masked_fill(~mask, 0.0) / count.sqrt()


@register("coda", source="NeurIPS 2019 (Tay et al.)")
@final
class Coda(Attention):
    """The hyperbolic tangent of the score, times a gate by the distance between query and key."""

    row_constraint = RowConstraint.FREE
    plain_products = False  # it reads distances

    @property
    def score_maps(self) -> int:
        """Two per head."""
        return 2 * self.num_heads

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores, and minus the scaled L1 distance with the position's bias, B x 2 x H x T x S."""
        distance = torch.cdist(qkv.queries_BHTC, qkv.keys_BHSC, p=1.0)
        nearness = -distance / math.sqrt(qkv.keys_BHSC.shape[-1])
        return torch.stack([scores, super().add_bias(nearness, bias, qkv)], dim=-4)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The product of the two factors, B x H x T x S."""
        signed, nearness = scores.unbind(-4)
        return (signed.tanh() * 2 * nearness.sigmoid()).masked_fill(~mask, 0.0)
