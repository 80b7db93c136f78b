"""Raven: a memory of m slots of which each token writes to a few, chosen by a router, and the others keep theirs.

    A_ij = sum_r p_ir s_jr exp(g_(j+1),r + ... + g_ir),   p_i = softmax_r(q_i.K_ir)        as in `gsa`
    g_tr = -e^{l_h} softplus(W_d x + b_h) w_tr,   s = 1 - exp(g)
    w_tr = z_tr / sum_{r chosen} z_tr at the ``keep`` largest z = sigmoid(W_r x), and 0 elsewhere

    q = rms(SiLU(W_q x)),  k likewise,  v = SiLU(W_v x)

A slot that is not chosen neither forgets nor is written. The output is rms(SiLU(o)) before its projection.

Source   goombalab/raven, ``raven.py``; the memory is that of Zhang et al., arXiv:2409.07146.
Theirs   f -> our g;  A_log, dt_bias -> our l, b;  topk -> our ``keep``;  num_slots -> our ``slots``, m.
Differs  the Gumbel noise that their router adds while it trains is left out: a pass has no randomness here. m = 16 and
         4 chosen are ours (theirs C and 32). l and b start as in `mamba2`: e^l in U(1, 16), theirs in U(0, 16).
         Scores of the router that differ by rounding alone are equal, and the first of them are chosen.

Letters  B batch, H heads, T tokens, D width, C channels per head, M slots.
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import register
from attnlab.attention.gsa import SlotMemory
from attnlab.attention.mamba2 import StepAndDecay
from attnlab.attention.ops.rms_norm import rms_norm
from attnlab.attention.ops.selection import top_k_mask
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("raven", source="goombalab/raven")
@final
class Raven(SlotMemory):
    """A memory of slots with a router: each token writes to a few of them.

    Options:
        slots: m, the slots per head.
        keep: Slots that a token writes to, at most m.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        slots: Annotated[int, Field(ge=1)] = 16,
        keep: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__(context)
        if keep > slots:
            problem = f"A token cannot write to {keep} slots of {slots}."
            raise InvalidValueError(problem, f"Use keep={slots} or less, or more slots.")
        self.keep = keep
        self.router = context.linear(context.width, slots * context.heads)
        self.clock = StepAndDecay(context)
        self.query_gain_C, self.key_gain_C = (nn.Parameter(torch.ones(context.channels)) for _ in range(2))
        self.output_gain_D = nn.Parameter(torch.ones(context.width))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + m D H + D H + 2 H + 2 C + D``."""
        routed = options["slots"] * width * heads + width * heads + 2 * heads
        return 4 * width**2 + routed + 2 * (width // heads) + width

    def state_size(self, tokens: int) -> int:
        """A key and a value per slot, ``2 m C`` per head."""
        return 2 * self.router.out_features * self.channels

    def activate(self, projected_BTP: Tensor) -> Tensor:
        """SiLU."""
        return functional.silu(projected_BTP)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Normalized queries and keys, values after SiLU, and g of every slot."""
        queries, keys, values = super().project(x_BTD, layer_inputs)[:3]
        _, decays_BHS1 = self.clock(x_BTD)
        routed_BHSM = self.routes(at_least_float32(self.split(self.router(x_BTD))))
        queries, keys = rms_norm(queries) * self.query_gain_C, rms_norm(keys) * self.key_gain_C
        return QKV(queries, keys, values, (decays_BHS1 * routed_BHSM,))

    def routes(self, logits_BHSM: Tensor) -> Tensor:
        """How a token divides what it writes among the slots.

        Args:
            logits_BHSM: The router's.

        Returns:
            Shares that sum to 1, zero for slots that are not chosen; B x H x S x M.
        """
        chosen = top_k_mask(logits_BHSM, torch.ones_like(logits_BHSM, dtype=torch.bool), self.keep)
        shares = logits_BHSM.sigmoid() * chosen
        return shares / (shares.sum(-1, keepdim=True) + 1e-9)

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """SiLU and norm over all heads, then the projection."""
        joined_BTD = rms_norm(functional.silu(self.join(at_least_float32(mixed_BHTC)))).to(mixed_BHTC.dtype)
        return super().output(self.split(joined_BTD * self.output_gain_D), x_BTD)
