"""Kimi Delta Attention: a delta rule in which each channel of the keys decays at its own rate.

    S_t = Diag(a_t) S_{t-1} + b_t k_t (v_t - k_t^T Diag(a_t) S_{t-1})^T,   o_t = S_t^T q_t
    log a = -exp(r) softplus(W_2 W_1 x + s), one number per channel; W_1 is D x C, shared by the heads

and with the gates of ``erase=channel`` and ``write=channel`` (GDN-2)

    S_t = (I - k_t (b_t o k_t)^T) Diag(a_t) S_{t-1} + k_t (w_t o v_t)^T
    b = sigmoid(W_e x), one number per channel of the keys;  w = sigmoid(W_w x), one per channel of the values

Where only one of the two has a gate of its own, the other keeps the strength of its head. ``precond`` is that of
:mod:`attnlab.attention.gated_delta`. Queries, keys, values,
strengths and the norm of the output are those of :mod:`attnlab.attention.delta`.

Source   kda: "Kimi Linear", arXiv:2510.26692; gates: "Gated DeltaNet-2", arXiv:2605.22791; precond:
         arXiv:2604.21100. Details after the layers of fla.
Theirs   beta -> our b;  exp(g) -> our a;  A_log -> our r;  dt_bias -> our s;  b, w of GDN-2 -> our b, w.
Differs  as delta. Their kda is in three layers of four, which is a stack of attentions. The maps to the gates of GDN-2
         are ours: D x D without an offset. With `negative` both gates lie in 0 .. 2.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, D width.
"""

from __future__ import annotations

from typing import Any, Literal, final

from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import register
from attnlab.attention.delta import DeltaNet, Expansion
from attnlab.attention.ops.convolution import Convolved
from attnlab.attention.ops.delta_rule import Rule
from attnlab.attention.ops.initial_decays import decay_rates, decay_steps
from attnlab.attention.ops.preconditioner import Preconditioner, num_preconditioner
from attnlab.errors import IncompatiblePartsError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

Gate = Literal["head", "channel"]


@register("kda", source="arXiv:2510.26692", aliases=("kimi-delta",))
@final
class Kda(DeltaNet):
    """Kimi Delta Attention: each channel of the keys decays at its own rate.

    Options:
        expand: Channels of the values for each channel of the keys.
        negative: Whether the strength b lies in 0 .. 2, so that the value stored under a key can change its sign.
        conv: The projections (q, k, v) with a causal convolution of 4 taps; qkv in the published layer.
        erase: Whether what is erased has one strength per head, or one per channel of the keys (GDN-2).
        write: Whether what is written has one strength per head, or one per channel of the values (GDN-2).
        precond: Whether written keys are scaled by a running second moment of the keys.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        expand: Expansion = 1,
        negative: bool = False,
        conv: Convolved = "none",
        erase: Gate = "head",
        write: Gate = "head",
        precond: bool = False,
    ) -> None:
        if precond and "channel" in (erase, write):
            raise IncompatiblePartsError(
                "precond with a gate per channel is defined by no source: both change what is written.",
                "Leave out precond=true, or erase and write.",
                where="kda",
            )
        super().__init__(context, expand=expand, negative=negative, conv=conv)
        self.narrow = context.linear(context.width, context.channels)
        self.forget = context.linear(context.channels, context.width)
        self.rate_H, self.step_D = decay_rates(context, context.heads), decay_steps(context, context.width)
        if erase == write == "channel":
            del self.strength
        self.erase_gate = context.linear(context.width, context.width) if erase == "channel" else None
        self.write_gate = context.linear(context.width, expand * context.width) if write == "channel" else None
        self.preconditioner = Preconditioner(context) if precond else None

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of delta, and ``2 D C + D + H``; for gates ``D^2``, ``e D^2``, and with both D H less.

        With precond there are ``2 D H + 2 H`` more.
        """
        erase, write = (options[name] == "channel" for name in ("erase", "write"))
        gates = (erase + write * options["expand"]) * width**2 - (erase and write) * width * heads
        decay = 2 * width * width // heads + width + heads
        more = num_preconditioner(width, heads) if options["precond"] else 0
        return super().num_parameters(width, heads, length, layer, biased, **options) + decay + gates + more

    def state_size(self, tokens: int) -> int:
        """A state of C x V numbers per head, C more with precond, and the tokens that convolutions read again."""
        return super().state_size(tokens) + (self.query.out_features if self.preconditioner else 0)

    def log_decay(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """One number per channel and token."""
        step_BTD = functional.softplus(at_least_float32(self.forget(self.narrow(x_BTD))) + self.step_D)
        return (-at_least_float32(self.rate_H).exp()[:, None, None] * self.split(step_BTD),)

    def strengths(self, x_BTD: Tensor) -> Tensor:
        """The strength with which a token erases, per channel or per head."""
        return super().strengths(x_BTD) if self.erase_gate is None else self.gate(self.erase_gate(x_BTD))

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, strengths and decays; with a gate per channel the values are those written."""
        qkv = super().project(x_BTD, layer_inputs)
        if self.preconditioner is not None:
            return self.preconditioner.add_to(qkv, x_BTD)
        if not self.separate:
            return qkv
        write = super().strengths(x_BTD) if self.write_gate is None else self.gate(self.write_gate(x_BTD))
        return qkv._replace(values_BHSC=write * qkv.values_BHSC)

    def rule(self, qkv: QKV) -> Rule:
        """With a gate per channel, the strength stands at what is read and in the values."""
        rule = super().rule(qkv)
        if self.preconditioner is not None:
            return self.preconditioner.scale_writes(rule, qkv)
        if not self.separate:
            return rule
        return rule._replace(removals_BHSC=rule.explicit().erasures_BHSC, erasures_BHSC=rule.removals_BHSC)

    @property
    def separate(self) -> bool:
        """Whether erasing and writing have gates of their own."""
        return self.erase_gate is not None or self.write_gate is not None
