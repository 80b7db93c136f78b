"""TTT-linear: the state is a linear model, trained on the keys and values of the sequence by gradient descent.

    f(x) = x + LN(x W + c),   loss_s = |f(k_s) - v_s|^2 / 2,   u_s = -d loss_s / d (k_s W + c)
    W_t = W + p_t sum_s l_s k_s^T u_s,   c_t = c + p_t sum_s l_s u_s,   over the tokens s <= t of the batch of t
    o_t = f(q_t) with W_t and c_t

Tokens are taken in batches of ``batch``. All gradients of a batch are taken at the state W, c before it; W_t and c_t of
its last token are the state before the next one. l = sigmoid(W_l x + z) / C is one number per head and token, and p_t =
max(0, 1/i + d_i) depends on the place i = 1, 2, .. of t in its batch alone. LN normalizes the channels of a head, with
a learned gain and bias per head; its derivative is part of u. The first state is learned: W_0, c_0. With ~k = (k, 1),
and P_ts the p of t in the batch of t, and of a batch's last token for s before it,

    q_t W_t + c_t = ~q_t (W_0, c_0) + sum_{s <= t} A_ts u_s,   A_ts = P_ts l_s ~q_t.~k_s

So A is the effective matrix of the updates u: these are the values of this attention, as diagnostics see them. They are
no linear map of its input, and neither is the LN that follows: f is applied to what was read.

The heads together are normalized by a layer norm before the output projection.

Source   Sun et al., "Learning to (learn at test time)", arXiv:2407.04620, and the authors' ttt-lm-pytorch.
Theirs   eta -> our p l;  theta_lr -> our W_l, z;  token_idx -> our p;  b -> our c;  XQ, XK, XV -> our q, k, v.
Differs  their rotation by the place in the batch, the sharing of W_q and W_k, and the gate of their larger models are
         left to the axes position and modifiers. With a position that rotates, k is the rotated one, in the target
         too, as theirs. W_0 starts at std 1/sqrt(C), so that the first gradients have the size of the error; theirs
         at 0.02. value_residual mixes in what the first layer's matrix multiplies, which is u where that is this one.

Letters  B batch, H heads, T queries, S keys, C channels, K = C + 1, N batches of L tokens, D width, V any channels.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.precision import full_precision
from attnlab.attention.ops.scan import to_chunks
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

EPSILON = 1e-6


@register("ttt-linear", source="arXiv:2407.04620")
@final
class TttLinear(Attention):
    """A linear model as state, which takes a step of gradient descent after each batch of tokens.

    Options:
        batch: L, the tokens whose gradients are taken at the same state.
    """

    row_constraint = RowConstraint.FREE
    has_scores = False
    chunked_scan = True
    cost = "T C D"

    def __init__(self, context: LayerContext, *, batch: Annotated[int, Field(ge=1)] = 16) -> None:
        super().__init__(context)
        width, heads, channels = context.width, context.heads, context.channels
        self.batch = batch
        self.rate = context.linear(width, heads, bias=True)
        self.place_L = nn.Parameter(torch.zeros(batch))
        self.start_HCC = context.normal(heads, channels, channels, std=1 / math.sqrt(channels))
        self.offset_H1C = nn.Parameter(torch.zeros(heads, 1, channels))
        self.gain_H1C = nn.Parameter(torch.ones(heads, 1, channels))
        self.bias_H1C = nn.Parameter(torch.zeros(heads, 1, channels))
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + D H + H`` for projections and rates, L, ``D C`` and ``5 D`` for start, norms and offsets."""
        batch: int = options["batch"]
        return 4 * width**2 + (width + 1) * heads + batch + width * (width // heads) + 5 * width

    def state_size(self, tokens: int) -> int:
        """C x C + C numbers per head, and as many sums of gradients within a batch; the start is no state."""
        numbers = self.key.out_features * (self.channels + 1)
        return numbers * ((tokens >= self.batch) + (tokens % self.batch > 0))

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; l as a further one, B x H x S x 1."""
        qkv = super().project(x_BTD, layer_inputs)
        rates = at_least_float32(self.split(self.rate(x_BTD))).sigmoid() / self.channels
        return qkv._replace(extra=(rates,))

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Queries and keys as always; the updates u in the place of the values."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        with full_precision(x_BTD):
            keys, values = at_least_float32(qkv.keys_BHSC), at_least_float32(qkv.values_BHSC)
            start = at_least_float32(torch.cat([self.start_HCC, self.offset_H1C], -2))
            last = self.places(self.batch)[-1]
            updates = updates_of(with_one(keys), values - keys, last * qkv.extra[0], start, self.norm_HC, self.batch)
        return qkv._replace(values_BHSC=updates.to(qkv.values_BHSC.dtype))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """A, B x H x T x S."""
        rows, tokens = qkv.queries_BHTC.shape[-2], qkv.keys_BHSC.shape[-2]
        index_S = torch.arange(tokens, device=qkv.keys_BHSC.device)
        index_T = index_S[qkv.start : qkv.start + rows, None]
        places = self.places(tokens)
        shares_TS = torch.where(index_S >= index_T - index_T % self.batch, places[index_T], self.places(self.batch)[-1])
        queries, keys = (with_one(at_least_float32(tensor)) for tensor in (qkv.queries_BHTC, qkv.keys_BHSC))
        return (queries @ (qkv.extra[0] * keys).mT * shares_TS).tril(qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Batch by batch where the output of all rows is computed, by the matrix otherwise."""
        tokens = qkv.keys_BHSC.shape[-2]
        if not self.fast or qkv.start or qkv.queries_BHTC.shape[-2] < tokens or tokens <= self.batch:
            return super().attend(qkv, position)
        queries, keys = (with_one(at_least_float32(tensor)) for tensor in (qkv.queries_BHTC, qkv.keys_BHSC))
        places = self.places(self.batch)
        q, k, values = (
            to_chunks(tensor, self.batch)
            for tensor in (queries, qkv.extra[0] * keys, at_least_float32(qkv.values_BHSC))
        )
        within = (q @ k.mT).tril() * places[:, None]
        written = (places[-1] * k.mT @ values)[..., :-1, :, :].cumsum(-3)
        states = functional.pad(written, (0, 0, 0, 0, 1, 0))
        mixed = within @ values + q @ states
        return mixed.flatten(-3, -2)[..., :tokens, :].to(qkv.values_BHSC.dtype)

    def head_output(self, mixed_BHTC: Tensor, qkv: QKV) -> Tensor:
        """The answer f(q): what the start answers is added, and the norm and the query follow."""
        queries = at_least_float32(qkv.queries_BHTC)
        start, offset = at_least_float32(self.start_HCC), at_least_float32(self.offset_H1C)
        gain, bias = self.norm_HC
        with full_precision(queries):
            read = at_least_float32(mixed_BHTC) + queries @ start + offset
        normed = functional.layer_norm(read, read.shape[-1:], eps=EPSILON)
        return (queries + gain * normed + bias).to(mixed_BHTC.dtype)

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """All heads together normalized, before gate and projection."""
        joined = self.norm(self.join(mixed_BHTC))
        return super().output(self.split(joined), x_BTD)

    def places(self, tokens: int) -> Tensor:
        """Share p of each token of the sum of its batch.

        Args:
            tokens: T.

        Returns:
            T numbers, at least 0.
        """
        learned_L = at_least_float32(self.place_L)
        index_T = torch.arange(tokens, device=learned_L.device) % self.batch
        return (1 / (index_T + 1).to(learned_L.dtype) + learned_L[index_T]).clamp_min(0)

    @property
    def norm_HC(self) -> tuple[Tensor, Tensor]:
        """Gain and bias of the LN, H x 1 x C each, float32 or more."""
        return at_least_float32(self.gain_H1C), at_least_float32(self.bias_H1C)


def updates_of(
    keys_BHSK: Tensor,
    targets_BHSC: Tensor,
    rates_BHS1: Tensor,
    start_HKC: Tensor,
    norm: tuple[Tensor, Tensor],
    batch: int,
) -> Tensor:
    """The updates u of all tokens, batch by batch; time and memory grow linearly in S.

    Args:
        keys_BHSK: ~k.
        targets_BHSC: What LN is to answer, v - k.
        rates_BHS1: l, times p of the last token of a batch.
        start_HKC: W_0 and c_0 below it.
        norm: Gain and bias of the LN, H x 1 x C each.
        batch: L.

    Returns:
        B x H x S x C.
    """
    gain, bias = norm
    tokens, squared = keys_BHSK.shape[-2], gain.square()
    constants = gain * (bias - targets_BHSC)
    state, updates = start_HKC.expand(*keys_BHSK.shape[:-2], -1, -1), []
    for start in range(0, tokens, batch):
        own = slice(start, start + batch)
        keys = keys_BHSK[..., own, :]
        read = keys @ state
        centered = read - read.mean(-1, keepdim=True)
        inverse = (centered.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
        normed = centered * inverse
        slope = squared * normed + constants[..., own, :]
        tangent = slope - slope.mean(-1, keepdim=True) - normed * (slope * normed).mean(-1, keepdim=True)
        updates.append(-tangent * inverse)
        if start + batch < tokens:
            state = state + (rates_BHS1[..., own, :] * keys).mT @ updates[-1]
    return torch.cat(updates, -2)


def with_one(tensor_BHSC: Tensor) -> Tensor:
    """A channel of ones appended, which reads the offset.

    Args:
        tensor_BHSC: Queries or keys.

    Returns:
        B x H x S x K.
    """
    return functional.pad(tensor_BHSC, (0, 1), value=1.0)
