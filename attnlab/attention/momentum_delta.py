"""Momentum delta: the corrections of a gated delta rule are collected in a second state, which is added to the first.

    M_t = m_t M_{t-1} + h_t k_t (v_t - k_t^T S_{t-1})^T,   S_t = a_t S_{t-1} + b_t M_t,   o_t = S_t^T q_t
    m = sigmoid(W_m x),  h = 2 sigmoid(W_h x), one number each per head

With m = 0, b = 1 it is a delta rule that reads before it decays. Over tokens 1 .. L that follow the states S_0, M_0

    S_t = A_t S_0 + E_t M_0 + sum_{j <= t} G_tj h_j k_j u_j^T,   u_t = v_t - k_t^T S_{t-1}
    G_tj = sum_{j <= i <= t} a_{i+1} .. a_t b_i m_{j+1} .. m_i
    A_t = a_1 .. a_t,   E_t = sum_{i <= t} a_{i+1} .. a_t b_i m_1 .. m_i

so that one triangular solve gives u. Queries, keys, values, strengths b, decays a and the norm of the output are those
of :mod:`attnlab.attention.gated_delta`.

Source   flash-linear-attention 0.6.0, ``ops/momentum_delta_rule``, as its plain reference computes it.
Theirs   mu -> our m;  eta -> our h;  alpha -> our a;  beta -> our b;  their M -> our -M;  p -> our k.
Differs  the maps to m, h, a and b are ours; with h up to 2 a first write is as large as that of delta. What
         is read is read at k, theirs at a vector of its own.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, N chunks of L tokens, D width.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Position, register
from attnlab.attention.delta import Expansion
from attnlab.attention.gated_delta import GatedDeltaNet
from attnlab.attention.ops.convolution import Convolved
from attnlab.attention.ops.delta_rule import CHUNK
from attnlab.attention.ops.scan import segment_sums, to_chunks
from attnlab.attention.ops.unit import unit_length
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


class Steps(NamedTuple):
    """The operations of each token on the two states, B x H x S x C or B x H x S x 1; float32 or more."""

    queries: Tensor
    keys: Tensor
    strengths: Tensor
    """b."""
    decays: Tensor
    """log a."""
    momenta: Tensor
    """log m."""
    rates: Tensor
    """h."""


@register("momentum-delta", source="flash-linear-attention 0.6.0, ops/momentum_delta_rule")
@final
class MomentumDelta(GatedDeltaNet):
    """A gated delta rule whose corrections have momentum.

    Options:
        expand: Channels of the values for each channel of the keys.
        conv: The projections (q, k, v) with a causal convolution of 4 taps.
    """

    def __init__(self, context: LayerContext, *, expand: Expansion = 1, conv: Convolved = "none") -> None:
        super().__init__(context, expand=expand, conv=conv)
        self.momentum, self.learning = (context.linear(context.width, context.heads) for _ in range(2))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of gated-delta, and ``2 D H``."""
        return super().num_parameters(width, heads, length, layer, biased, **options) + 2 * width * heads

    def state_size(self, tokens: int) -> int:
        """Two states of C x V numbers per head, and the tokens that convolutions read again."""
        return super().state_size(tokens) + self.query.out_features * len(self.gain_V)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, strengths and decays; log m and h as further ones."""
        qkv = super().project(x_BTD, layer_inputs)
        momentum, rate = (self.split(at_least_float32(layer(x_BTD))) for layer in (self.momentum, self.learning))
        return qkv._replace(extra=(*qkv.extra, functional.logsigmoid(momentum), 2 * rate.sigmoid()))

    def steps_of(self, qkv: QKV) -> Steps:
        """The operations of each token.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            The operations, the queries of other rows zero.
        """
        rows, tokens = qkv.queries_BHTC.shape[-2], qkv.keys_BHSC.shape[-2]
        queries = functional.pad(at_least_float32(qkv.queries_BHTC), (0, 0, qkv.start, tokens - qkv.start - rows))
        return Steps(queries, unit_length(at_least_float32(qkv.keys_BHSC)), *map(at_least_float32, qkv.extra))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S."""
        rows = slice(qkv.start, qkv.start + qkv.queries_BHTC.shape[-2])
        steps = self.steps_of(qkv)
        reads, overlap, _ = within(steps)
        solved = torch.linalg.solve_triangular(overlap, reads, upper=False, left=False, unitriangular=True)
        return solved[..., rows, :]

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where the output of all rows is computed, the closed form otherwise."""
        if not self.takes_scan(qkv):
            return super().attend(qkv, position)
        return momentum_scan(self.steps_of(qkv), at_least_float32(qkv.values_BHSC)).to(qkv.values_BHSC.dtype)


class Carried(NamedTuple):
    """How the states before a chunk, and its own writes, enter what its tokens read and the states after it."""

    decayed: Tensor
    """A, ... x L x 1."""
    moved: Tensor
    """E, ... x L x 1."""
    momentum: Tensor
    """m_1 .. m_t, ... x L x 1."""
    to_state: Tensor
    """G_Lj h_j, ... x L x 1."""
    to_momentum: Tensor
    """m_{j+1} .. m_L h_j, ... x L x 1."""


def within(steps: Steps) -> tuple[Tensor, Tensor, Carried]:
    """What the tokens of a chunk do to each other.

    Args:
        steps: Operations, ... x L x C.

    Returns:
        The weights of u in the outputs; those in ``v - u``, below the diagonal of ones; what passes chunk borders.
    """
    decay, momentum = (segment_sums(log.squeeze(-1)).exp().tril() for log in (steps.decays, steps.momenta))
    carried = decay * steps.strengths.mT
    gains = carried @ momentum * steps.rates.mT
    since_start = steps.momenta.cumsum(-2).exp()
    ends = (momentum * steps.rates.mT)[..., -1:, :].mT
    border = Carried(steps.decays.cumsum(-2).exp(), carried @ since_start, since_start, gains[..., -1:, :].mT, ends)
    before = functional.pad(gains[..., :-1, :], (0, 0, 1, 0))
    return steps.queries @ steps.keys.mT * gains, steps.keys @ steps.keys.mT * before, border


def momentum_scan(steps: Steps, values_BHSV: Tensor) -> Tensor:
    """The output of the recurrence; time and memory grow linearly in S.

    Args:
        steps: Operations of all tokens.
        values_BHSV: v.

    Returns:
        B x H x S x V.
    """
    tokens = values_BHSV.shape[-2]
    size = min(CHUNK, tokens)
    chunk = Steps(*(to_chunks(tensor, size) for tensor in steps))
    values = to_chunks(values_BHSV, size)
    reads, overlap, border = within(chunk)
    before = functional.pad(border.decayed[..., :-1, :], (0, 0, 1, 0), value=1.0)
    moved_before = functional.pad(border.moved[..., :-1, :], (0, 0, 1, 0))
    at_states = torch.cat([before * chunk.keys, moved_before * chunk.keys], -1)
    solved = torch.linalg.solve_triangular(overlap, torch.cat([values, at_states], -1), upper=False, unitriangular=True)
    corrected, feedback = solved.split([values.shape[-1], at_states.shape[-1]], -1)
    read_states = torch.cat([border.decayed * chunk.queries, border.moved * chunk.queries], -1)
    writing = torch.cat([border.to_state * chunk.keys, border.to_momentum * chunk.keys], -1).mT
    transition = kept(border, chunk.keys.shape[-1]) - writing @ feedback
    states = states_before(transition, writing @ corrected)
    out = reads @ corrected + (read_states - reads @ feedback) @ states
    return out.flatten(-3, -2)[..., :tokens, :]


def kept(border: Carried, channels: int) -> Tensor:
    """What remains of the two states after a chunk that writes nothing.

    Args:
        border: What passes the borders of the chunks.
        channels: C.

    Returns:
        ... x 2C x 2C, the two states above one another.
    """
    decayed, moved, momentum = (tensor[..., -1:, :] for tensor in border[:3])
    identity = torch.eye(channels, dtype=decayed.dtype, device=decayed.device)
    upper = torch.cat([decayed * identity, moved * identity], -1)
    return torch.cat([upper, torch.cat([torch.zeros_like(momentum * identity), momentum * identity], -1)], -2)


def states_before(transitions: Tensor, added: Tensor) -> Tensor:
    """The states before each chunk.

    Args:
        transitions: ... x N x 2C x 2C.
        added: What each chunk adds, ... x N x 2C x V.

    Returns:
        ... x N x 2C x V; zero before the first chunk.
    """
    states = [torch.zeros_like(added.select(-3, 0))]
    for transition, addition in zip(transitions.unbind(-3)[:-1], added.unbind(-3)[:-1], strict=True):
        states.append(transition @ states[-1] + addition)
    return torch.stack(states, -3)
