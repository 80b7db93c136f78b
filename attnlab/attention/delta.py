"""DeltaNet and its gated variants: linear attention that overwrites the value stored under a key.

    S_t = Diag(a_t) S_{t-1} + b_t k_t (v_t - k_t^T Diag(a_t) S_{t-1})^T,   o_t = S_t^T q_t
    k = unit_length(SiLU(W_k x)),  q = unit_length(SiLU(W_q x)),  v = SiLU(W_v x),  b = sigmoid(W_b x), per head
    delta         a = 1
    gated-delta   log a = -exp(r) softplus(W_a x + s), one number per head
    kda           log a = -exp(r) softplus(W_2 W_1 x + s), one number per channel; W_1 is D x C, shared by the heads

The output of each head is normalized to unit size, with a learned gain. Keys have unit length when they are used, even
under `qk_norm`: longer ones make the state grow without bound. That modifier has no effect here, and is refused.

Source   delta: Yang et al., arXiv:2406.06484; gated-delta: Yang, Kautz & Hatamizadeh, arXiv:2412.06464; kda: "Kimi
         Linear", arXiv:2510.26692; b up to 2: Grazzi et al., arXiv:2411.12537. Details after the layers of fla.
Theirs   beta -> our b;  alpha, exp(g) -> our a;  A_log -> our r;  dt_bias -> our s.
Differs  their convolutions of q, k, v are the modifier `short_conv` (theirs has 4 taps; recall leans on it), their
         output gate is the modifier `gate`. Queries are not scaled by 1/sqrt(C): the norm that follows undoes it.
         Their gated-delta has `expand` 2; their kda is in three layers of four, which is a stack of attentions.
         exp(r) starts in U(1, 16) and softplus(s) log-uniform in 0.001 .. 0.1 for both gated kinds; that range is our
         choice where fla's versions vary.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, D width.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import register
from attnlab.attention.ops.delta_rule import DeltaRule, Rule, unit_length
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

Expansion = Annotated[int, Field(ge=1)]


class DeltaNet(DeltaRule):
    """The common part of the three; a variant defines the decay of its state.

    Args:
        context: Sizes, index of the layer, and source of the initial weights.
        expand: V / C.
        negative: Whether b lies in 0 .. 2 instead of 0 .. 1.
    """

    unsupported_modifiers = {
        "qk_norm": "its queries and keys have unit length already, and the norm after it undoes a gain"
    }

    def __init__(self, context: LayerContext, *, expand: Expansion = 1, negative: bool = False) -> None:
        super().__init__(context, values=expand * context.channels)
        self.max_strength = 2.0 if negative else 1.0
        self.strength = context.linear(context.width, context.heads)
        self.gain_V = nn.Parameter(torch.ones(expand * context.channels))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 (1 + e) D^2 + D H + e C`` for an expansion of e, and the parameters of the decay."""
        expand = options["expand"]
        return 2 * (1 + expand) * width**2 + width * heads + expand * width // heads

    def log_decay(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """Logarithm of a.

        Args:
            x_BTD: The input of the attention.

        Returns:
            One tensor, B x H x S x C or B x H x S x 1; none where the state does not decay.
        """
        return ()

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries of unit length, keys and values after their SiLU, strengths and decays."""
        queries, keys, values = (functional.silu(part) for part in super().project(x_BTD, layer_inputs)[:3])
        strength_BHS1 = self.max_strength * self.split(self.strength(x_BTD)).sigmoid()
        return QKV(
            unit_length(at_least_float32(queries)).to(queries.dtype),
            keys,
            values,
            (strength_BHS1, *self.log_decay(x_BTD)),
        )

    def rule(self, qkv: QKV) -> Rule:
        """Reads and writes with the same key, each with strength b."""
        keys, (strength_BHS1, *decays) = unit_length(at_least_float32(qkv.keys_BHSC)), qkv.extra
        return Rule(
            at_least_float32(qkv.queries_BHTC), keys, strength_BHS1 * keys, decays_BHSC=decays[0] if decays else None
        )

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """Every head normalized to unit size, with one learned gain for all heads."""
        normed = functional.rms_norm(at_least_float32(mixed_BHTC), self.gain_V.shape, eps=1e-5).to(mixed_BHTC.dtype)
        return super().output(normed * self.gain_V, x_BTD)


@register("delta", source="arXiv:2406.06484", aliases=("deltanet",))
@final
class Delta(DeltaNet):
    """DeltaNet: the state does not decay; only the value stored under the same key is overwritten.

    Options:
        expand: Channels of the values for each channel of the keys.
        negative: Whether the strength b lies in 0 .. 2, so that the value stored under a key can change its sign.
    """


@register("gated-delta", source="arXiv:2412.06464", aliases=("gated-deltanet", "gdn"))
@final
class GatedDelta(DeltaNet):
    """Gated DeltaNet: the whole state of a head also decays, at a rate computed from each token.

    Options:
        expand: Channels of the values for each channel of the keys; 2 in the published layer.
        negative: Whether the strength b lies in 0 .. 2, so that the value stored under a key can change its sign.
    """

    def __init__(self, context: LayerContext, *, expand: Expansion = 1, negative: bool = False) -> None:
        super().__init__(context, expand=expand, negative=negative)
        self.forget = context.linear(context.width, context.heads)
        self.rate_H, self.step_H = decay_rates(context, context.heads), decay_steps(context, context.heads)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of delta, and ``D H + 2 H``."""
        return super().num_parameters(width, heads, length, layer, biased, **options) + width * heads + 2 * heads

    def log_decay(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """One number per head and token."""
        step_BTH = functional.softplus(at_least_float32(self.forget(x_BTD)) + self.step_H)
        return (self.split(-at_least_float32(self.rate_H).exp() * step_BTH),)


@register("kda", source="arXiv:2510.26692", aliases=("kimi-delta",))
@final
class Kda(DeltaNet):
    """Kimi Delta Attention: each channel of the keys decays at its own rate.

    Options:
        expand: Channels of the values for each channel of the keys.
        negative: Whether the strength b lies in 0 .. 2, so that the value stored under a key can change its sign.
    """

    def __init__(self, context: LayerContext, *, expand: Expansion = 1, negative: bool = False) -> None:
        super().__init__(context, expand=expand, negative=negative)
        self.narrow = context.linear(context.width, context.channels)
        self.forget = context.linear(context.channels, context.width)
        self.rate_H, self.step_D = decay_rates(context, context.heads), decay_steps(context, context.width)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of delta, and ``2 D C + D + H``."""
        return (
            super().num_parameters(width, heads, length, layer, biased, **options)
            + 2 * width * width // heads
            + width
            + heads
        )

    def log_decay(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """One number per channel and token."""
        step_BTD = functional.softplus(at_least_float32(self.forget(self.narrow(x_BTD))) + self.step_D)
        return (-at_least_float32(self.rate_H).exp()[:, None, None] * self.split(step_BTD),)


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
