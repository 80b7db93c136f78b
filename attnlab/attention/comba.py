"""Comba: a gated delta rule that reads what it erases before the state decays, with a shorter key.

    S_t = a_t S_{t-1} + b_t k_t (v_t - p_t^T S_{t-1})^T,   p = d k,   o_t = S_t^T q_t
    d = sigmoid(z), one number per head

Queries, keys, values, strengths, decays and the norm of the output are those of :mod:`attnlab.attention.gated_delta`.

Source   Hu et al., "Comba", arXiv:2506.02475; flash-linear-attention's ``ops/comba``.
Theirs   beta -> our b;  alpha, exp(g) -> our a.
Differs  their correction of the queries by the keys is left out. z starts at 1 (ours). In fla 0.6.0 the kernels and the
         chunked reference read before the decay, as here; its reference token by token reads after it. A log decay
         below -30 counts as -30: such a state is gone in float32.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, D width.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import nn

from attnlab.attention.base import register
from attnlab.attention.delta import Expansion
from attnlab.attention.gated_delta import GatedDeltaNet
from attnlab.attention.ops.convolution import Convolved
from attnlab.attention.ops.delta_rule import Rule
from attnlab.tensors import QKV, LayerContext, at_least_float32

STRONGEST = -30.0
"""The least log decay of a token."""


@register("comba", source="arXiv:2506.02475")
@final
class Comba(GatedDeltaNet):
    """A gated delta rule with a feedback of its own strength, read from the state before it decays.

    Options:
        expand: Channels of the values for each channel of the keys.
        negative: Whether the strength b lies in 0 .. 2.
        conv: The projections (q, k, v) with a causal convolution of 4 taps; qkv in the published layer.
    """

    def __init__(
        self, context: LayerContext, *, expand: Expansion = 1, negative: bool = False, conv: Convolved = "none"
    ) -> None:
        super().__init__(context, expand=expand, negative=negative, conv=conv)
        self.feedback_H = nn.Parameter(torch.ones(context.heads))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of gated-delta, and H."""
        return super().num_parameters(width, heads, length, layer, biased, **options) + heads

    def rule(self, qkv: QKV) -> Rule:
        """What is read is divided by the decay, since the rule decays first."""
        rule = super().rule(qkv).explicit()
        assert rule.decays_BHSC is not None
        decays = rule.decays_BHSC.clamp_min(STRONGEST)
        feedback_H11 = at_least_float32(self.feedback_H).sigmoid()[:, None, None]
        return rule._replace(removals_BHSC=feedback_H11 * rule.removals_BHSC / decays.exp(), decays_BHSC=decays)
