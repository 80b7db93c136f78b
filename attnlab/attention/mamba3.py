"""Mamba-3 (SISO): a rotating state with an exponential-trapezoidal step, in which each token writes twice.

    S_t  = e^{g_t} S_{t-1} + (1 - l_t) d_t e^{g_t} k_{t-1} v_{t-1}^T + l_t d_t k_t v_t^T,   o_t = S_t^T q_t + s_h v_t
    A_ij = q_i.k_j e^{g_(j+1) + ... + g_i} (l_j d_j + (1 - l_{j+1}) d_{j+1})      for j < i
    A_ii = q_i.k_i l_i d_i + s_h

    d = softplus(W_d x + b),  g = -d max(softplus(W_g x), 1e-4),  l = sigmoid(W_l x),  one number each per head
    q = R(a) (rms(W_q x) + b_q),  k likewise;   a_t = sum_{u <= t} d_u pi tanh(W_a x_u)

An integral over one step is taken by the trapezoidal rule: a token is written with weight l when it is read, and with
1 - l of the next token's step when that one is. For l = 1 the step is that of `mamba2`. The rotation R turns pairs of
channels by angles that are sums over tokens, as in the position `selective-rotary`; a product of q and k then depends
on the tokens between them. It makes a state that can count, where a decay alone cannot.

Source   Lahoti et al., "Mamba-3", arXiv:2603.15569; state-spaces/mamba, ``mamba3.py`` and its plain references.
Theirs   C, B, x -> our q, k, v;  DT, ADT, Trap -> our d, g, logit of l;  D -> our s.
Differs  a pair is (m, m + R), theirs are neighbors; the default of ``state`` is that of our `mamba2`, theirs 128. Their
         gate is the modifier ``gate`` (element), with a sigmoid instead of a SiLU, after a norm per head without a
         gain that `mamba2` has too and theirs has not by default. Their block has no MLP: set ``mlp_ratio: 0``.

Letters  B batch, 1 where all heads share, H heads, T queries, S keys, D width, N channels of queries and keys, R
         rotated pairs, L tokens of a chunk, V width of the values.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, RowConstraint, register
from attnlab.attention.mamba2 import LONGEST, SHORTEST
from attnlab.attention.ops.rms_norm import rms_norm
from attnlab.attention.ops.scan import (
    SCALAR_CHUNK,
    Recurrence,
    Recurrent,
    chunk_states,
    closed_form,
    remaining_decay,
    to_chunks,
)
from attnlab.rotation import rotate_heads, running_angles
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

SLOWEST = 1e-4
"""The least rate of decay."""


class Writes(NamedTuple):
    """The weights with which tokens are written, B x H x S x 1, float32 or more."""

    own: Tensor
    """``l d``, when the token itself is read."""
    later: Tensor
    """``l_j d_j + (1 - l_{j+1}) d_{j+1}``, from the next token on."""


@register("mamba3", source="arXiv:2603.15569")
@final
class Mamba3(Recurrent):
    """A state that decays, rotates, and takes half of each step from the token before.

    Options:
        state: N, channels of queries and keys.
        expand: Width of the values, as a multiple of the width of the model.
        rotated: Fraction of the channels of queries and keys that rotate; theirs is 0.5 or 1.
    """

    row_constraint = RowConstraint.FREE
    cost = "T D N"
    own_projections = True
    only_recurrence: ClassVar[bool] = False

    def __init__(
        self,
        context: LayerContext,
        *,
        state: Annotated[int, Field(ge=4, multiple_of=2)] = 64,
        expand: Annotated[int, Field(ge=1)] = 2,
        rotated: Annotated[float, Field(gt=0, le=1)] = 0.5,
    ) -> None:
        super().__init__(context, values=expand * context.channels)
        self.query, self.key = context.linear(context.width, state), context.linear(context.width, state)
        self.query_gain_N, self.key_gain_N = nn.Parameter(torch.ones(state)), nn.Parameter(torch.ones(state))
        self.query_bias_HN, self.key_bias_HN = (nn.Parameter(torch.ones(context.heads, state)) for _ in range(2))
        self.clock = Clock(context, pairs(state, rotated))
        self.skip_H = nn.Parameter(torch.ones(context.heads))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 e D^2 + 2 D N + 2 N + 2 H N + 3 D H + D R + 2 H`` for values e times as wide."""
        expand, state = options["expand"], options["state"]
        maps = 2 * expand * width**2 + 2 * width * state + 3 * width * heads + width * pairs(state, options["rotated"])
        return maps + 2 * state + 2 * heads * state + 2 * heads

    def state_size(self, tokens: int) -> int:
        """Per head a state of N x V numbers, the last key and value, and an angle per rotated pair."""
        last = self.num_heads * self.num_features + self.value.out_features
        return super().state_size(tokens) + last + self.num_heads * self.clock.angle.out_features

    @property
    def num_features(self) -> int:
        """N channels of the keys."""
        return self.key.out_features

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Rotated queries and keys, values, and l d, (1 - l) d and g of each token."""
        angles_BHTR, extra = self.clock(x_BTD)
        queries = rms_norm(self.query(x_BTD)) * self.query_gain_N
        keys = rms_norm(self.key(x_BTD)) * self.key_gain_N
        queries_BHTN = queries.unsqueeze(-3) + self.query_bias_HN[:, None]
        keys_BHSN = keys.unsqueeze(-3) + self.key_bias_HN[:, None]
        values_BHSV = self.split(self.value(x_BTD))
        return QKV(rotate_heads(queries_BHTN, angles_BHTR), rotate_heads(keys_BHSN, angles_BHTR), values_BHSV, extra)

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Queries, keys and decay; keys are written with weights of their own."""
        return Recurrence(qkv.queries_BHTC, qkv.keys_BHSC, at_least_float32(qkv.extra[2]))

    def writes(self, qkv: QKV) -> Writes:
        """The weights with which tokens are written.

        Args:
            qkv: Queries, keys and values.

        Returns:
            Those of the token's own step, and those from the next one on.
        """
        own, carried = at_least_float32(qkv.extra[0]), at_least_float32(qkv.extra[1])
        return Writes(own, own + functional.pad(carried[..., 1:, :], (0, 0, 0, 1)))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S."""
        queries, keys, decay = self.recurrence(
            qkv._replace(queries_BHTC=at_least_float32(qkv.queries_BHTC), keys_BHSC=at_least_float32(qkv.keys_BHSC))
        )
        weights = written(closed_form(queries, keys, decay, qkv.start), self.writes(qkv), qkv.start)
        identity = torch.ones_like(weights).tril(qkv.start).triu(qkv.start)
        return weights + self.skip_H[:, None, None] * identity

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan plus each token's own value where it is faster, the closed form otherwise; B x H x T x V."""
        if not self.uses_scan(qkv):
            return super().attend(qkv, position)
        exact = [at_least_float32(part) for part in qkv[:3]]
        mixed = trapezoidal_scan(exact[0], exact[1], at_least_float32(qkv.extra[2]), self.writes(qkv), exact[2])
        return (mixed + self.skip_H[:, None, None] * exact[2]).to(qkv.values_BHSC.dtype)


@final
class Clock(nn.Module):
    """Step, decay, share of the step and angles of each token.

    Args:
        context: The layer that the attention is built for.
        pairs: R.
    """

    def __init__(self, context: LayerContext, pairs: int) -> None:
        super().__init__()
        self.step, self.rate, self.share = (context.linear(context.width, context.heads) for _ in range(3))
        self.angle = context.linear(context.width, pairs)
        uniform_H = (context.uniform(context.heads, bound=1.0).detach() + 1) / 2
        start_H = SHORTEST * (LONGEST / SHORTEST) ** uniform_H
        self.start_H = nn.Parameter(start_H + torch.log(-torch.expm1(-start_H)))

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Compute what the input of the layer gives beside queries, keys and values.

        Args:
            x_BTD: The input of the attention.

        Returns:
            Angles in radians, B x H x T x R; and ``l d``, ``(1 - l) d`` and g, B x H x T x 1 each, float32 or more.
        """
        step_BHT, rate_BHT, share_BHT = (at_least_float32(one(x_BTD)).mT for one in (self.step, self.rate, self.share))
        step_BHT1 = functional.softplus(step_BHT + at_least_float32(self.start_H)[:, None])[..., None]
        decay_BHT1 = -step_BHT1 * functional.softplus(rate_BHT).clamp_min(SLOWEST)[..., None]
        own_BHT1 = step_BHT1 * share_BHT.sigmoid()[..., None]
        turns_B1TR = math.pi * at_least_float32(self.angle(x_BTD)).tanh().unsqueeze(-3)
        return running_angles(step_BHT1 * turns_B1TR), (own_BHT1, step_BHT1 - own_BHT1, decay_BHT1)


def pairs(state: int, rotated: float) -> int:
    """R, the number of pairs of channels that rotate, at least one.

    Args:
        state: N.
        rotated: Fraction of the channels.

    Returns:
        The number.

    >>> pairs(64, 0.5)
    16
    """
    return max(1, int(state * rotated) // 2)


def written(products_BHTS: Tensor, writes: Writes, start: int = 0) -> Tensor:
    """Decayed products times the weights with which keys are written.

    Args:
        products_BHTS: ``q_i.k_j e^{g_(j+1) + ... + g_i}``, zero for later keys.
        writes: Weights of all tokens.
        start: Index of the first row.

    Returns:
        B x H x T x S.
    """
    rows, columns = products_BHTS.shape[-2:]
    is_own_TS = torch.ones(rows, columns, dtype=torch.bool, device=products_BHTS.device).tril(start).triu(start)
    return products_BHTS * torch.where(is_own_TS, writes.own.mT, writes.later.mT)


def trapezoidal_scan(
    queries_BHTN: Tensor, keys_BHTN: Tensor, decay_BHT1: Tensor, writes: Writes, values_BHTV: Tensor
) -> Tensor:
    """The closed form times the values, for all rows at once, without ever holding T x T numbers.

    Args:
        queries_BHTN: Queries of all tokens.
        keys_BHTN: Keys of all tokens.
        decay_BHT1: g.
        writes: Weights of all tokens.
        values_BHTV: Values of all tokens.

    Returns:
        B x H x T x V.
    """
    tensors = (queries_BHTN, keys_BHTN, decay_BHT1, *writes, values_BHTV)
    queries, keys, decay, own, later, values = (to_chunks(tensor, SCALAR_CHUNK) for tensor in tensors)
    since_start = decay.cumsum(-2).exp()
    updates = (keys * (later * remaining_decay(decay).exp())).mT @ values
    states = chunk_states(updates, since_start[..., -1:, :])
    within = written(closed_form(queries, keys, decay), Writes(own, later))
    mixed = within @ values + (queries * since_start) @ states
    return mixed.flatten(-3, -2)[..., : queries_BHTN.shape[-2], :]
