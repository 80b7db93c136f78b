"""Gated DeltaNet: a delta rule in which the whole state of a head decays, at a rate computed from each token.

    S_t = a_t S_{t-1} + b_t k_t (v_t - k_t^T a_t S_{t-1})^T,   o_t = S_t^T q_t
    log a = -exp(r) softplus(W_a x + s), one number per head

With ``precond`` what is written is scaled by a running second moment of the keys; what is erased is read at k:

    S_t = a_t S_{t-1} + b_t (m_t o k_t) (v_t - k_t^T a_t S_{t-1})^T

with m of :mod:`attnlab.attention.ops.preconditioner`. Queries, keys, values, strengths and the norm of the output are
those of :mod:`attnlab.attention.delta`.

Source   Yang, Kautz & Hatamizadeh, arXiv:2412.06464; householders: Siems et al., arXiv:2502.10297; precond:
         arXiv:2604.21100. Details after the layers of fla.
Theirs   beta -> our b;  alpha, exp(g) -> our a;  A_log -> our r;  dt_bias -> our s;  M -> our m.
Differs  as delta. Their layer has `expand` 2. exp(r) starts in U(1, 16) and softplus(s) log-uniform in 0.001 .. 0.1;
         that range is our choice where fla's versions vary.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, D width.
"""

from __future__ import annotations

from typing import Any, final

from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import register
from attnlab.attention.delta import DeltaNet, Expansion, Householders
from attnlab.attention.ops.convolution import Convolved
from attnlab.attention.ops.delta_rule import Rule
from attnlab.attention.ops.initial_decays import decay_rates, decay_steps
from attnlab.attention.ops.preconditioner import Preconditioner, num_preconditioner
from attnlab.errors import IncompatiblePartsError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


class GatedDeltaNet(DeltaNet):
    """The common part of attentions whose state decays by one number per head and token.

    Args:
        context: Sizes, index of the layer, and source of the initial weights.
        expand: V / C.
        negative: Whether b lies in 0 .. 2 instead of 0 .. 1.
        conv: The projections that are convolved.
        householders: N, writes per token.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        expand: Expansion = 1,
        negative: bool = False,
        conv: Convolved = "none",
        householders: Householders = 1,
    ) -> None:
        super().__init__(context, expand=expand, negative=negative, conv=conv, householders=householders)
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


@register("gated-delta", source="arXiv:2412.06464", aliases=("gated-deltanet", "gdn"))
@final
class GatedDelta(GatedDeltaNet):
    """Gated DeltaNet: the whole state of a head also decays, at a rate computed from each token.

    Options:
        expand: Channels of the values for each channel of the keys; 2 in the published layer.
        negative: Whether the strength b lies in 0 .. 2, so that the value stored under a key can change its sign.
        conv: The projections (q, k, v) with a causal convolution of 4 taps; qkv in the published layer.
        householders: Writes per token, each with a key, a value and a strength of its own; the state decays once.
        precond: Whether written keys are scaled by a running second moment of the keys.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        expand: Expansion = 1,
        negative: bool = False,
        conv: Convolved = "none",
        householders: Householders = 1,
        precond: bool = False,
    ) -> None:
        if precond and householders > 1:
            raise IncompatiblePartsError(
                "precond with several householders is defined by no source: a token has one second moment of its key.",
                "Leave out precond=true, or householders.",
                where="gated-delta",
            )
        super().__init__(context, expand=expand, negative=negative, conv=conv, householders=householders)
        self.preconditioner = Preconditioner(context) if precond else None

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of delta, and ``D H + 2 H``; with precond ``2 D H + 2 H`` more."""
        more = num_preconditioner(width, heads) if options["precond"] else 0
        return super().num_parameters(width, heads, length, layer, biased, **options) + more

    def state_size(self, tokens: int) -> int:
        """A state of C x V numbers per head, C more with precond, and the tokens that convolutions read again."""
        return super().state_size(tokens) + (self.query.out_features if self.preconditioner else 0)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, strengths and decays; decays and strengths of the second moment as further ones."""
        qkv = super().project(x_BTD, layer_inputs)
        return qkv if self.preconditioner is None else self.preconditioner.add_to(qkv, x_BTD)

    def rule(self, qkv: QKV) -> Rule:
        """With precond the written keys are scaled."""
        rule = super().rule(qkv)
        return rule if self.preconditioner is None else self.preconditioner.scale_writes(rule, qkv)
