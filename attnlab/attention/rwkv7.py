"""RWKV-7: a delta rule with channel-wise decay and strength that erases and writes with different keys.

    S_t = (Diag(w_t) - (a_t o h_t) h_t^T) S_{t-1} + k_t v_t^T,   o_t = S_t^T r_t + (r_t . (rho o k_t)) v_t
    h = unit_length(xi o W_k x),  k = (1 + (a - 1) alpha) o W_k x,  r = W_r x
    log w = -e^{-1/2} sigmoid(w_0 + W_w2 tanh(W_w1 x)),   a = sigmoid(a_0 + W_a2 W_a1 x)
    v = W_v x + sigmoid(v_0 + W_n2 W_n1 x) o (v_1 - W_v x)

with v_1 the values of the first layer, which itself has v = W_v x. The input of each of r, w, k, v, a is its own
interpolation of a token and the one before, x + m o (x_before - x). The output is normalized per head, as by a group
norm.

Source   Peng et al., "RWKV-7 Goose", arXiv:2503.14456, as its layer in fla computes it.
Theirs   kappa hat, kk -> our h;  k_k -> our xi;  k_a -> our alpha;  r_k -> our rho;  x_r .. x_a -> our m.
Differs  the bonus (the term with rho) is linear in the values, so it is part of the effective matrix and is added
         before the norm, theirs after it. Their output gate is the modifier `gate`. The ranks are one number, not four.
         h is divided by the root of its squared length plus 1e-6, as in fla; the authors' code has no 1e-6.
         Initial values are ours, close to theirs: xi 0.71, alpha 1.02, rho -0.04, v_0 0.73, a_0 -0.19, w_0 drawn from
         -6 .. 0, m from 0 .. 1, second factors at a tenth of the usual size.

A rotary position rotates h together with k, so that h still matches the written keys. The rule of
:mod:`attnlab.attention.ops.delta_rule` decays before it reads. Here reading comes first, so h is divided by w, which is
at least 0.54.

Letters  B batch, 2 keys (k, before xi h), H heads, T queries, S keys, C channels per head, D width.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import register
from attnlab.attention.ops.delta_rule import DeltaRule, Rule
from attnlab.attention.ops.modifiers import first_values
from attnlab.attention.ops.unit import unit_length
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("rwkv7", source="arXiv:2503.14456", aliases=("rwkv-7",))
@final
class Rwkv7(DeltaRule):
    """The time mixing of RWKV-7.

    Options:
        rank: Inner width of the maps to decays, strengths and shares of the first layer's values.
        shift: Whether each input is interpolated with the token before.
    """

    own_projections = True

    def __init__(self, context: LayerContext, *, rank: Annotated[int, Field(ge=1)] = 32, shift: bool = True) -> None:
        super().__init__(context)
        width = context.width
        self.decay = LowRank(context, rank, shifted(context.uniform(width, bound=3.0), -3.0))
        self.strength = LowRank(context, rank, constant(width, -0.19))
        self.share = LowRank(context, rank, constant(width, 0.73)) if context.layer else None
        self.blends = nn.ParameterList(
            shifted(context.uniform(width, bound=0.5), 0.5) for _ in range(5 if shift else 0)
        )
        self.direction_D, self.replaced_D, self.bonus_D = (constant(width, value) for value in (0.71, 1.02, -0.04))
        self.gain_D, self.offset_D = constant(width, 1.0), constant(width, 0.0)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 4 D r + 7 D``, and ``5 D`` with shift, in the first layer; ``2 D r + D`` more in the others."""
        blends = 5 if options["shift"] else 0
        share = width * (2 * options["rank"] + 1) if layer else 0
        return 4 * width**2 + 4 * width * options["rank"] + (7 + blends) * width + share

    def state_size(self, tokens: int) -> int:
        """A state of C x C numbers per head, and with ``shift`` the last token."""
        last = self.query.in_features if self.blends and tokens else 0
        return super().state_size(tokens) + last

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Receptances as queries, both keys, and values; strengths and decays as extra."""
        query_BTD, decay_BTD, key_BTD, value_BTD, strength_input_BTD = self.shifted_inputs(x_BTD)
        values_BTD = self.value(value_BTD)
        strength_BTD, keys_BTD = self.strength(strength_input_BTD).sigmoid(), self.key(key_BTD)
        writes = self.split(keys_BTD * (1 + (strength_BTD - 1) * self.replaced_D))
        directions = self.split(keys_BTD * self.direction_D)
        log_decay = -math.exp(-0.5) * at_least_float32(self.decay(decay_BTD, tanh=True)).sigmoid()
        values = self.split(values_BTD)
        if self.share is not None and layer_inputs.first_layer:
            values = torch.lerp(values, first_values(values, layer_inputs), self.split(self.share(value_BTD)).sigmoid())
        extra = (self.split(strength_BTD), self.split(log_decay))
        return QKV(self.split(self.query(query_BTD)), torch.stack([writes, directions], -4), values, extra)

    def rule(self, qkv: QKV) -> Rule:
        """Erasure at h with strength a per channel; writing at k."""
        strength, decays = qkv.extra
        writes, directions = at_least_float32(qkv.keys_BHSC).unbind(-4)
        removals, queries = unit_length(directions), at_least_float32(qkv.queries_BHTC)
        rows = slice(qkv.start, qkv.start + queries.shape[-2])
        bonus_HC = self.bonus_D.unflatten(0, (self.num_heads, 1, -1))
        own = (queries * writes[..., rows, :] * bonus_HC).sum(-1, keepdim=True)
        return Rule(queries, removals / decays.exp(), strength * removals, writes, decays, own)

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The update of the residual stream; each head is normalized, with a gain and an offset per channel."""
        channels = mixed_BHTC.shape[-1]
        normed = functional.layer_norm(at_least_float32(mixed_BHTC), (channels,), eps=1e-5 * channels).to(
            mixed_BHTC.dtype
        )
        gain, offset = (vector_D.unflatten(0, (self.num_heads, 1, -1)) for vector_D in (self.gain_D, self.offset_D))
        return super().output(normed * gain + offset, x_BTD)

    def shifted_inputs(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """Compute the inputs of r, w, k, v and a.

        Args:
            x_BTD: The input of the attention.

        Returns:
            Five interpolations of each token and the one before, B x T x D each.
        """
        if not self.blends:
            return (x_BTD,) * 5
        difference_BTD = functional.pad(x_BTD[..., :-1, :], (0, 0, 1, 0)) - x_BTD
        return tuple(x_BTD + blend_D * difference_BTD for blend_D in self.blends)


@final
class LowRank(nn.Module):
    """A vector plus a low-rank map.

    Args:
        context: The layer that the attention is built for.
        rank: Rank of the map.
        start: The vector, D.
    """

    def __init__(self, context: LayerContext, rank: int, start: nn.Parameter) -> None:
        super().__init__()
        self.start_D = start
        self.narrow, self.widen = context.linear(context.width, rank), context.linear(rank, context.width, gain=0.1)

    def forward(self, x_BTD: Tensor, tanh: bool = False) -> Tensor:
        """Apply the map.

        Args:
            x_BTD: The input.
            tanh: Whether there is a tanh between the two factors.

        Returns:
            B x T x D.
        """
        inner = self.narrow(x_BTD)
        return self.start_D + self.widen(inner.tanh() if tanh else inner)


def constant(count: int, value: float) -> nn.Parameter:
    """Make a parameter of equal numbers.

    Args:
        count: How many.
        value: Their initial value.

    Returns:
        The parameter, with one axis.
    """
    return nn.Parameter(torch.full((count,), value))


def shifted(drawn: nn.Parameter, offset: float) -> nn.Parameter:
    """Add an offset to the initial values of a parameter.

    Args:
        drawn: The parameter.
        offset: The offset.

    Returns:
        A new parameter of the same shape.
    """
    return nn.Parameter(drawn.detach() + offset)
