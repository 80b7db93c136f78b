"""MesaNet: each query reads the best linear map from the past keys to the past values.

    o_t = H_t^T (G_t + Diag(l))^{-1} q_t
    G_t = a_t G_{t-1} + b_t k_t k_t^T,   H_t = a_t H_{t-1} + b_t k_t v_t^T

The map minimizes the decayed, weighted squared error over the past, with l as its regularization. With x_t the solution
of the linear system, the effective matrix is

    A_ts = b_s x_t.k_s a_{s+1} .. a_t

l = 0.25 + softplus(z) is one number per channel. Queries, keys, values, strengths b, decays a and the norm of the
output are those of :mod:`attnlab.attention.gated_delta`.

Source   von Oswald et al., "MesaNet", arXiv:2506.05233; flash-linear-attention's ``ops/mesa_net``.
Theirs   H_kk, H_kv -> our G, H;  gamma, exp(g) -> our a;  beta -> our b;  Lambda, lambda -> our l.
Differs  the systems are solved exactly in float32, one of C x C numbers per token; theirs takes at most 30 steps of
         conjugate gradients, which are inexact, and of which 16 take longer here than a factorization at C = 16.
         Compiled loops factorize them where there are any (:mod:`attnlab.attention.ops.least_squares`). Otherwise the
         fast path has a gradient without C x C numbers: that of one correction of a known solution y,
         ``x = y + F^{-1} (q - (G + Diag(l)) y)`` with F fixed. The floor of l, its start at 1 and the maps to a and b
         are ours. A floor keeps the system far from singular.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, N chunks of L tokens, D width.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, register
from attnlab.attention.delta import Expansion
from attnlab.attention.gated_delta import GatedDeltaNet
from attnlab.attention.ops import least_squares
from attnlab.attention.ops import recurrence as recurrence_ops
from attnlab.attention.ops.convolution import Convolved
from attnlab.attention.ops.scan import SCALAR_CHUNK, Recurrence, closed_form, scan, segment_sums, short_outputs
from attnlab.attention.ops.unit import unit_length
from attnlab.tensors import QKV, LayerContext, at_least_float32

FLOOR = 0.25
"""The least regularization of a channel."""


@register("mesa", source="arXiv:2506.05233", aliases=("mesanet",))
@final
class Mesa(GatedDeltaNet):
    """Least squares in context: a state of keys times keys corrects what a query reads.

    Options:
        expand: Channels of the values for each channel of the keys.
        conv: The projections (q, k, v) with a causal convolution of 4 taps; qkv in the published layer.
    """

    cost = "T C^2 D"

    def __init__(self, context: LayerContext, *, expand: Expansion = 1, conv: Convolved = "none") -> None:
        super().__init__(context, expand=expand, conv=conv)
        start = math.log(math.expm1(1 - FLOOR))
        self.ridge_D = nn.Parameter(torch.full((context.width,), start))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The parameters of gated-delta, and D."""
        return super().num_parameters(width, heads, length, layer, biased, **options) + width

    def state_size(self, tokens: int) -> int:
        """C x V numbers and a symmetric C x C matrix per head, and the tokens that convolutions read again."""
        return super().state_size(tokens) + self.query.out_features * (self.channels + 1) // 2

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S: sums over all pairs of tokens, and one system for each query."""
        keys, strengths, decays = self.written(qkv)
        rows = slice(qkv.start, qkv.start + qkv.queries_BHTC.shape[-2])
        remaining_BHTS = segment_sums(decays.squeeze(-1)).exp().tril()[..., rows, :]
        products = (keys[..., :, None] * (strengths * keys)[..., None, :]).flatten(-2)
        solved = self.solve((remaining_BHTS @ products).unflatten(-1, keys.shape[-1:] * 2), qkv)
        return closed_form(solved, strengths * keys, decays, qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Two scans where the output of all rows is computed, the closed form otherwise."""
        if not self.takes_scan(qkv):
            return super().attend(qkv, position)
        keys, strengths, decays = self.written(qkv)
        recurrence, values = Recurrence(self.solve_fast(qkv), strengths * keys, decays), qkv.values_BHSC
        short = keys.shape[-2] <= SCALAR_CHUNK and recurrence_ops.usable(*recurrence, values)
        run = partial(short_outputs, normalized=False) if short else scan
        return run(*recurrence, at_least_float32(values)).to(values.dtype)

    def written(self, qkv: QKV) -> tuple[Tensor, Tensor, Tensor]:
        """Keys of unit length, strengths and log decays of all tokens.

        Args:
            qkv: Queries, keys and values.

        Returns:
            B x H x S x C, and B x H x S x 1 twice, float32 or more.
        """
        strengths, decays = (at_least_float32(tensor) for tensor in qkv.extra)
        return unit_length(at_least_float32(qkv.keys_BHSC)), strengths, decays

    def solve(self, sums_BHTCC: Tensor, qkv: QKV) -> Tensor:
        """What each query reads with.

        Args:
            sums_BHTCC: G of each query.
            qkv: Queries, keys and values.

        Returns:
            ``(G + Diag(l))^{-1} q``, B x H x T x C.
        """
        systems = sums_BHTCC + self.ridge_H1C.diag_embed()
        return torch.linalg.solve(systems, at_least_float32(qkv.queries_BHTC)[..., None])[..., 0]

    def solve_fast(self, qkv: QKV) -> Tensor:
        """The same for all rows, by compiled loops or by chunked scans.

        Args:
            qkv: Queries, keys and values.

        Returns:
            ``(G + Diag(l))^{-1} q``, B x H x T x C.
        """
        (keys, strengths, decays), ridge = self.written(qkv), self.ridge_H1C
        queries = at_least_float32(qkv.queries_BHTC)
        if least_squares.usable(queries, keys, strengths, decays, ridge):
            return least_squares.solutions(queries, keys, strengths, decays, ridge)
        with torch.no_grad():
            products = (keys[..., :, None] * keys[..., None, :]).flatten(-2)
            reads, one_chunk = torch.ones_like(strengths), keys.shape[-2] <= SCALAR_CHUNK
            flat = (
                closed_form(reads, strengths, decays) @ products
                if one_chunk
                else scan(reads, strengths, decays, products)
            )
            sums = flat.unflatten(-1, keys.shape[-1:] * 2)
            factors = torch.linalg.cholesky(sums + ridge.diag_embed())
            known = torch.cholesky_solve(queries[..., None], factors)[..., 0]
        missing = queries - scan(known, strengths * keys, decays, keys) - ridge * known
        return known + torch.cholesky_solve(missing[..., None], factors)[..., 0]

    @property
    def ridge_H1C(self) -> Tensor:
        """l, float32 or more."""
        ridge_D = FLOOR + functional.softplus(at_least_float32(self.ridge_D))
        return ridge_D.unflatten(0, (self.num_heads, 1, -1))
