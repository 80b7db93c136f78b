"""The preconditioner of delta rules: written keys scaled by a running second moment of the keys, channel by channel.

    A_t = c_t A_{t-1} + d_t k_t^2,   m_t = 1.5^(-s_t),   s = r / (1 + |r|),   r = log(A + 1e-6) + 0.2
    log c = -exp(u) softplus(W_c x + w),   d = sigmoid(W_d x), one number each per head

A channel that has been used much is written less, by a factor between 2/3 and 3/2. The state erases with k and writes
with m o k.

Source   "Preconditioned DeltaNet", arXiv:2604.21100, as the plain references of flash-linear-attention compute it.
Theirs   exp(g_atk) -> our c;  beta_atk -> our d;  log_atk_scale -> our -0.2, not learned here.
Differs  the maps to c and d are ours; c starts as the decay of gated-delta.

Letters  B batch, H heads, S keys, C channels of keys, D width.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.ops.delta_rule import Rule
from attnlab.attention.ops.initial_decays import decay_rates, decay_steps
from attnlab.attention.ops.scan import scan
from attnlab.tensors import QKV, LayerContext, at_least_float32

BASE, CENTER, EPSILON = 1.5, -0.2, 1e-6


@final
class Preconditioner(nn.Module):
    """The second moment of the keys of one attention.

    Args:
        context: The layer that the attention is built for.
    """

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.forget, self.strength = (context.linear(context.width, context.heads) for _ in range(2))
        self.rate_H, self.step_H = decay_rates(context, context.heads), decay_steps(context, context.heads)

    def add_to(self, qkv: QKV, x_BTD: Tensor) -> QKV:
        """Append log c and d to the further tensors.

        Args:
            qkv: Queries, keys and values.
            x_BTD: The input of the attention.

        Returns:
            The same, with two more tensors, B x H x S x 1.
        """
        step_BTH = functional.softplus(at_least_float32(self.forget(x_BTD)) + self.step_H)
        decay_BTH = -at_least_float32(self.rate_H).exp() * step_BTH
        strength_BTH = at_least_float32(self.strength(x_BTD)).sigmoid()
        return qkv._replace(extra=(*qkv.extra, decay_BTH.mT[..., None], strength_BTH.mT[..., None]))

    def scale_writes(self, rule: Rule, qkv: QKV) -> Rule:
        """Scale what is written.

        Args:
            rule: The rule that reads with k and writes a multiple of it.
            qkv: Queries, keys and values, with the two tensors as the last further ones.

        Returns:
            The rule that reads with k and writes the multiple times m.
        """
        decays, strengths = (at_least_float32(tensor) for tensor in qkv.extra[-2:])
        scale = written_scale(rule.removals_BHSC, decays, strengths)
        return rule._replace(erasures_BHSC=scale * rule.explicit().erasures_BHSC)


def num_preconditioner(width: int, heads: int) -> int:
    """The number of parameters of a preconditioner.

    Args:
        width: D.
        heads: H.

    Returns:
        ``2 D H + 2 H``.
    """
    return 2 * width * heads + 2 * heads


def written_scale(keys_BHSC: Tensor, decays_BHS1: Tensor, strengths_BHS1: Tensor) -> Tensor:
    """The factor m on each channel of each written key.

    Args:
        keys_BHSC: k, of unit length.
        decays_BHS1: log c.
        strengths_BHS1: d.

    Returns:
        m, B x H x S x C.
    """
    ones_BHS1 = torch.ones_like(strengths_BHS1)
    moment_BHSC = scan(ones_BHS1, strengths_BHS1, decays_BHS1, keys_BHSC.square())
    distance = (moment_BHSC + EPSILON).log() - CENTER
    return (-math.log(BASE) * distance / (1 + distance.abs())).exp()
