"""Signed weights without a promised sum: what GPAM was compared with, and its relative Cog.

    cog   A_ij = sign(s_ij) exp|s_ij| / sum_{k <= i} exp|s_ik|
    nap   A_ij = g_h z_ij + b_h,   z_ij = (s_ij - mean_i) / (sd_i + 0.001)
    non   A_ij = s_ij / sqrt(n_i)
    coda  A_ij = tanh(s_ij) * 2 sigmoid(-|q_i - k_j|_1 / sqrt(C))

with mean_i and sd_i (of a population) over the n_i = i + 1 keys that row i may hear, i from 0.

Source   cog: Lv et al., arXiv:2411.07176; nap, non: Richter and Wattenhofer, "Normalized attention without
         probability cage", arXiv:2005.09561, and their code; coda: Tay et al., "Compositional de-attention
         networks", NeurIPS 2019, as third-party code has it: the authors' own was not at hand.
Theirs   E, N -> our s and minus distance (coda);  gain and bias, 1 and 0 at first -> our g_h, b_h (nap).
Differs  scores are q.k / sqrt(C) everywhere; nap's TensorFlow code leaves the root out, which only its 0.001
         notices. Means, deviations and roots are those of each row's own keys, not of T. A position's bias is
         added to s in nap and non, to |s| in cog and to minus the distance in coda, where adding it to s would make
         a penalty on far keys raise their weights; rotary positions turn coda's distance too. Cog's paper is
         said to keep softmax in its first and last layers: write a stack of attentions for that. Coda's other
         forms (the mean taken from the distance, scales on both factors) are not offered.

Letters  B batch, 2 the parts of a score, H heads, T queries, S keys, C channels per head.
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
"""What nap adds to the standard deviation."""


@register("cog", source="arXiv:2411.07176")
@final
class Cog(Attention):
    """Softmax of the sizes of the scores, with their signs: sizes sum to one."""

    row_constraint = RowConstraint.FREE

    @property
    def score_maps(self) -> int:
        """Two for each head."""
        return 2 * self.num_heads

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores, and beside them their sizes with the position's bias, on an axis before the heads."""
        return torch.stack([scores, super().add_bias(scores.abs(), bias, qkv)], dim=-4)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Signs times softmax; a score of zero has no sign and no weight."""
        signed, sizes = scores.unbind(-4)
        return signed.sign() * masked_softmax(sizes, mask)


@register("nap", source="arXiv:2005.09561")
@final
class Nap(Attention):
    """Scores of mean zero and unit deviation in each row, with a gain and a bias per head.

    The first row has one score and no deviation: only b_h is heard there, nothing at first.
    """

    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.gain_H = nn.Parameter(torch.ones(context.heads))
        self.bias_H = nn.Parameter(torch.zeros(context.heads))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + 2 H``."""
        return 4 * width**2 + 2 * heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Standard scores of the allowed keys."""
        distance, deviation = center_rows(scores, mask)
        standard = distance / (deviation + EPSILON)
        return (self.gain_H[:, None, None] * standard + self.bias_H[:, None, None]).masked_fill(~mask, 0.0)


@register("non", source="arXiv:2005.09561")
@final
class Non(Attention):
    """Bare scores, divided by the root of how many keys there are."""

    row_constraint = RowConstraint.FREE

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Scores of the allowed keys."""
        count = mask.sum(-1, keepdim=True, dtype=scores.dtype).clamp_min(1)
        return scores.masked_fill(~mask, 0.0) / count.sqrt()


@register("coda", source="NeurIPS 2019 (Tay et al.)")
@final
class Coda(Attention):
    """The hyperbolic tangent of the score, closed by the distance between query and key."""

    row_constraint = RowConstraint.FREE

    @property
    def score_maps(self) -> int:
        """Two for each head."""
        return 2 * self.num_heads

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores, and beside them minus the scaled city-block distance with the position's bias."""
        distance = torch.cdist(qkv.queries_BHTC, qkv.keys_BHSC, p=1.0)
        nearness = -distance / math.sqrt(qkv.keys_BHSC.shape[-1])
        return torch.stack([scores, super().add_bias(nearness, bias, qkv)], dim=-4)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The two factors, multiplied."""
        signed, nearness = scores.unbind(-4)
        return (signed.tanh() * 2 * nearness.sigmoid()).masked_fill(~mask, 0.0)
