"""Mamba-2, state-space duality: linear attention whose one forget gate per head is also its write gate.

    A_ij = q_i.k_j exp(a_h (d_(j+1),h + ... + d_ih)) d_jh + [i = j] s_h
    d    = softplus(x W + b_h),   a_h = -exp(l_h)

Queries, keys and values pass through a SiLU; queries and keys are shared by all heads.

Source   Dao and Gu, "Transformers are SSMs", arXiv:2405.21060.
Theirs   C, B, x -> our queries, keys, values;  Delta, A, A_log, D -> our d, a, l, s.
Differs  their convolution is the modifier ``short_conv``, before the projections; their gate is the modifier ``gate``
         (element), with a sigmoid for a SiLU and after the norm. With it there are about 6 D^2 weights. The norm is
         taken per head and has no gain. Their block has no MLP beside it: choose ``mlp: 0`` for that. As in
         public code exp(l) starts in U(1, 16) and softplus(b) between 0.001 and 0.1, evenly in its logarithm; s starts
         at 1. The SiLU on queries, keys and values follows that code too; the default of ``state`` is ours.

Letters  B batch, 1 where all heads share, H heads, T queries, S keys, D width, N channels of queries and keys.
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, Rows, register
from attnlab.attention.ops.scan import Recurrence, Recurrent
from attnlab.tensors import Context, Heads, Site, wide

SHORTEST, LONGEST, FASTEST = 1e-3, 1e-1, 16.0
"""Steps at the start lie between the first two, rates between 1 and the last."""


@register("mamba2", source="arXiv:2405.21060", aliases=("ssd",))
@final
class Mamba2(Recurrent):
    """A memory with a step per token and head: a long step forgets and writes, a short one keeps and skips.

    Options:
        state: N, channels of queries and keys, shared by the heads.
        expand: Width of the values, in widths of the model.
    """

    rows = Rows.FREE
    cost = "T D N"

    def __init__(
        self,
        site: Site,
        *,
        state: Annotated[int, Field(ge=2, multiple_of=2)] = 64,
        expand: Annotated[int, Field(ge=1)] = 2,
    ) -> None:
        super().__init__(site, values=expand * site.channels)
        self.query, self.key = site.linear(site.width, state), site.linear(site.width, state)
        self.clock = Clock(site)
        self.skip_H = nn.Parameter(torch.ones(site.heads))

    @classmethod
    def declared(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``2 e D^2 + 2 D N + D H + 3 H`` for values e times as wide."""
        return 2 * options["expand"] * width**2 + 2 * width * options["state"] + width * heads + 3 * heads

    def project(self, x_BTD: Tensor, context: Context) -> Heads:
        """Queries and keys of all heads, values by head, steps and decay."""
        queries_B1TN, keys_B1SN = (functional.silu(one(x_BTD).unsqueeze(-3)) for one in (self.query, self.key))
        return Heads(queries_B1TN, keys_B1SN, functional.silu(self.split(self.value(x_BTD))), self.clock(x_BTD))

    def recur(self, heads: Heads) -> Recurrence:
        """Keys written by their step, and a decay in proportion to it."""
        step_BHS1, decay_BHS1 = heads.extra
        return Recurrence(heads.queries_BHTC, heads.keys_BHSC * step_BHS1, decay_BHS1)

    def weights(self, heads: Heads, position: Position) -> Tensor:
        """The closed form, and what each token hears of itself."""
        weights = super().weights(heads, position)
        itself = torch.ones_like(weights).tril(heads.start).triu(heads.start)
        return weights + self.skip_H[:, None, None] * itself

    def mix(self, heads: Heads, position: Position) -> Tensor:
        """The scan, and what each token hears of itself."""
        mixed = super().mix(heads, position)
        return mixed + self.skip_H[:, None, None] * heads.values_BHSC if self.scanned(heads) else mixed


@final
class Clock(nn.Module):
    """The step of every token in every head, and how much the memory fades by it.

    Args:
        site: Where it stands.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.step = site.linear(site.width, site.heads)
        step_share_H, rate_share_H = ((site.uniform(site.heads, bound=1.0).detach() + 1) / 2 for _ in range(2))
        start_H = SHORTEST * (LONGEST / SHORTEST) ** step_share_H
        self.start_H = nn.Parameter(start_H + torch.log(-torch.expm1(-start_H)))
        self.rate_H = nn.Parameter(torch.log(1 + (FASTEST - 1) * rate_share_H))

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Steps and decay, each B x H x S x 1, in float32 or more."""
        step_BSH = functional.softplus(wide(self.step(x_BTD)) + wide(self.start_H))
        step_BHS1 = step_BSH.mT[..., None]
        return step_BHS1, -wide(self.rate_H).exp()[:, None, None] * step_BHS1
