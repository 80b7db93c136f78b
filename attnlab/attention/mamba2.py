"""Mamba-2, state-space duality: linear attention with one step per token and head for decay and write strength.

    A_ij = q_i.k_j exp(a_h (d_(j+1),h + ... + d_ih)) d_jh + [i = j] s_h
    d    = softplus(x W + b_h),   a_h = -exp(l_h)

Queries, keys and values pass through a SiLU; all heads share queries and keys.

Source   Dao and Gu, "Transformers are SSMs", arXiv:2405.21060.
Theirs   C, B, x -> our queries, keys, values;  Delta, A, A_log, D -> our d, a, l, s.
Differs  their convolution of q, k and v is the option ``conv``, off by default and without their offset; their gate is
         the modifier ``gate`` (element), with a sigmoid instead of a SiLU, and after the norm. With it there are about
         6 D^2 weights. The norm is taken per head and has no gain. Their block has no MLP: set ``mlp_ratio: 0`` for
         that. As in public code exp(l) starts in U(1, 16) and softplus(b) between 0.001 and 0.1, uniform in its
         logarithm; s starts at 1. The SiLU on queries, keys and values follows that code too; the default of
         ``state`` is ours.

Letters  B batch, 1 where all heads share, H heads, T queries, S keys, D width, N channels of queries and keys.
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, RowConstraint, register
from attnlab.attention.ops.convolution import Convolutions, Convolved, num_taps
from attnlab.attention.ops.scan import Recurrence, Recurrent
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

SHORTEST, LONGEST, FASTEST = 1e-3, 1e-1, 16.0
"""Initial steps lie between the first two, initial rates between 1 and the last."""


@register("mamba2", source="arXiv:2405.21060", aliases=("ssd",))
@final
class Mamba2(Recurrent):
    """A state with a step per token and head: a long step decays and writes more, a short step less.

    Options:
        state: N, channels of queries and keys, shared by the heads.
        expand: Width of the values, as a multiple of the width of the model.
        conv: The projections (q, k, v) with a causal convolution of 4 taps; qkv in the published layer.
    """

    row_constraint = RowConstraint.FREE
    cost = "T D N"

    own_projections = True

    def __init__(
        self,
        context: LayerContext,
        *,
        state: Annotated[int, Field(ge=2, multiple_of=2)] = 64,
        expand: Annotated[int, Field(ge=1)] = 2,
        conv: Convolved = "none",
    ) -> None:
        super().__init__(context, values=expand * context.channels)
        self.query, self.key = context.linear(context.width, state), context.linear(context.width, state)
        self.clock = StepAndDecay(context)
        self.skip_H = nn.Parameter(torch.ones(context.heads))
        self.convolutions = Convolutions(context, conv, {"q": state, "k": state, "v": expand * context.width})

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 e D^2 + 2 D N + D H + 3 H`` for values e times as wide, and 4 taps for each channel that is convolved."""
        expand, state = options["expand"], options["state"]
        taps = num_taps(options["conv"], {"q": state, "k": state, "v": expand * width})
        return 2 * expand * width**2 + 2 * width * state + width * heads + 3 * heads + taps

    def state_size(self, tokens: int) -> int:
        """A state of N x V numbers per head, and the tokens that convolutions read again."""
        return super().state_size(tokens) + self.convolutions.state_size(tokens, self.query.in_features)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries and keys for all heads, values by head, steps and decay."""
        queries_B1TN, keys_B1SN = (projection(x_BTD).unsqueeze(-3) for projection in (self.query, self.key))
        projected = self.convolutions(QKV(queries_B1TN, keys_B1SN, self.split(self.value(x_BTD))), silu=False)
        queries, keys, values = (functional.silu(part) for part in projected[:3])
        return QKV(queries, keys, values, self.clock(x_BTD))

    @property
    def num_features(self) -> int:
        """N channels of the keys, which all heads share."""
        return self.key.out_features

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Keys times their step, and a decay in proportion to the step; without steps, those are in the values."""
        *steps, decay_BHS1 = qkv.extra
        keys_BHSC = qkv.keys_BHSC * steps[0] if steps else qkv.keys_BHSC
        return Recurrence(qkv.queries_BHTC, keys_BHSC, decay_BHS1)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form plus the weight of each token's own value, B x H x T x S."""
        weights = super().weights(qkv, position)
        identity = torch.ones_like(weights).tril(qkv.start).triu(qkv.start)
        return weights + self.skip_H[:, None, None] * identity

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The recurrence plus each token's own value, B x H x T x V."""
        if not (self.uses_scan(qkv) or self.uses_loops(qkv)):
            return super().attend(qkv, position)
        step_BHS1, decay_BHS1 = qkv.extra  # values are fewer than keys, which all heads share
        stepped = qkv._replace(values_BHSC=step_BHS1 * qkv.values_BHSC, extra=(decay_BHS1,))
        mixed = super().attend(stepped, position) + self.skip_H[:, None, None] * qkv.values_BHSC
        return mixed.to(qkv.values_BHSC.dtype)


@final
class StepAndDecay(nn.Module):
    """The step of each token in each head, and the decay of the state by that step.

    Args:
        context: The layer that the attention is built for.
    """

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.step = context.linear(context.width, context.heads)
        step_uniform_H, rate_uniform_H = (
            (context.uniform(context.heads, bound=1.0).detach() + 1) / 2 for _ in range(2)
        )
        start_H = SHORTEST * (LONGEST / SHORTEST) ** step_uniform_H
        self.start_H = nn.Parameter(start_H + torch.log(-torch.expm1(-start_H)))
        self.rate_H = nn.Parameter(torch.log(1 + (FASTEST - 1) * rate_uniform_H))

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Compute step and decay of each token.

        Args:
            x_BTD: The input of the attention.

        Returns:
            Steps, and the logarithm of the fraction of the state that remains; B x H x S x 1 each, float32 or more.
        """
        step_BSH = functional.softplus(at_least_float32(self.step(x_BTD)) + at_least_float32(self.start_H))
        step_BHS1 = step_BSH.mT[..., None]
        return step_BHS1, -at_least_float32(self.rate_H).exp()[:, None, None] * step_BHS1
