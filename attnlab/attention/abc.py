"""ABC: attention over a bounded memory of m slots; a learned control sets how much each token writes to each slot.

    A_ij  = sum_r p_ir phi_jr / Z_ir
    p_i   = softmax_r(q_i.K_ir / sqrt(C))
    K_ir  = sum_{j <= i} phi_jr k_j / Z_ir
    phi_j = exp(W x_j),   Z_i = sum_{j <= i} phi_j

Rows sum to one. Since ``q_i.K_ir`` is ``sum_j (q_i.k_j) phi_jr / Z_ir``, the scores of the slots and the output are
both sums of products over the past, and a scan holds at most m x C numbers per chunk of tokens.

Source   Peng et al., "ABC", arXiv:2110.02488: ABC_MLP; flash-linear-attention's ``ops/abc``. No public
         code of the authors was found (November 2026).
Theirs   n, the memory size -> our m, ``slots``.
Differs  of the paper's controls only the contextual one, which is linear in the residual stream; short convolution and
         output gate are modifiers. As in that implementation the logits of the control are clamped to 32 around zero:
         exp stays far inside float32 without the logarithm of a running sum. m = 16 is a third party's choice.
         The memory does not decay: Z only grows, and late tokens write less and less. m is no bound on the rank of A.

Letters  B batch, H heads, T queries, S keys, C channels per head, M slots, N chunks of b tokens.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, causal_mask

CHUNK = 64
MAX_LOGIT = 32.0
"""The logits of the control are clamped to this magnitude."""


@register("abc", source="arXiv:2110.02488, ABC_MLP", aliases=("abc-mlp",))
@final
class Abc(Attention):
    """A memory of a few slots, written with a learned control and read with a softmax over the slots.

    Options:
        slots: m, the slots per head.
    """

    has_scores = False
    chunked_scan = True
    cost = "T m D"

    def __init__(self, context: LayerContext, *, slots: Annotated[int, Field(ge=1)] = 16) -> None:
        super().__init__(context)
        self.control = context.linear(context.width, slots * context.heads)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + m D H``."""
        return 4 * width**2 + options["slots"] * width * heads

    def state_size(self, tokens: int) -> int:
        """Sums of keys, of values and of weights per slot, ``m (2 C + 1)`` per head."""
        slots = self.control.out_features
        return slots * (2 * self.channels + 1)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and the weight with which each token writes to each slot."""
        writes_BHSM = at_least_float32(self.split(self.control(x_BTD))).clamp(-MAX_LOGIT, MAX_LOGIT).exp()
        return super().project(x_BTD, layer_inputs)._replace(extra=(writes_BHSM,))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form: two masked products."""
        queries_BHTC, keys_BHSC = at_least_float32(qkv.queries_BHTC), at_least_float32(qkv.keys_BHSC)
        writes_BHSM, totals_BHTM = self.memory(qkv)
        past_TS = causal_mask(queries_BHTC.shape[-2], keys_BHSC.shape[-2], qkv.start, queries_BHTC.device)
        dots_BHTS = (queries_BHTC @ keys_BHSC.mT).masked_fill(~past_TS, 0.0)
        reads_BHTM = self.reads(dots_BHTS @ writes_BHSM, totals_BHTM)
        return (reads_BHTM @ writes_BHSM.mT).masked_fill(~past_TS, 0.0)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where the output of all rows is computed, the closed form otherwise."""
        if not self.fast or qkv.start or qkv.queries_BHTC.shape[-2] != qkv.keys_BHSC.shape[-2]:
            return super().attend(qkv, position)
        writes_BHSM, totals_BHTM = self.memory(qkv)
        scores_BHTM = causal_product(at_least_float32(qkv.queries_BHTC), at_least_float32(qkv.keys_BHSC), writes_BHSM)
        reads_BHTM = self.reads(scores_BHTM, totals_BHTM)
        mixed_BHTC = causal_product(reads_BHTM, writes_BHSM, at_least_float32(qkv.values_BHSC))
        return mixed_BHTC.to(qkv.values_BHSC.dtype)

    def memory(self, qkv: QKV) -> tuple[Tensor, Tensor]:
        """The write weights and their running totals.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            phi of all tokens, B x H x S x M, and Z of the rows of the queries, B x H x T x M.
        """
        writes_BHSM = at_least_float32(qkv.extra[0])
        totals_BHSM = writes_BHSM.cumsum(-2)
        return writes_BHSM, totals_BHSM[..., qkv.start : qkv.start + qkv.queries_BHTC.shape[-2], :]

    def reads(self, sums_BHTM: Tensor, totals_BHTM: Tensor) -> Tensor:
        """``p / Z``: the weight of each slot in the output of each query.

        Args:
            sums_BHTM: ``sum_j (q_i.k_j) phi_jr``.
            totals_BHTM: Z.

        Returns:
            B x H x T x M.
        """
        return (sums_BHTM / totals_BHTM / math.sqrt(self.channels)).softmax(-1) / totals_BHTM


def causal_product(queries_TC: Tensor, keys_TC: Tensor, values_TV: Tensor) -> Tensor:
    """``sum_{j <= i} (q_i.k_j) v_j`` in time and memory linear in T.

    Args:
        queries_TC: q, ... x T x C.
        keys_TC: k, ... x T x C.
        values_TV: v, ... x T x V.

    Returns:
        ... x T x V.
    """
    tokens = queries_TC.shape[-2]
    chunk = min(CHUNK, tokens)
    padded = (functional.pad(tensor, (0, 0, 0, -tokens % chunk)) for tensor in (queries_TC, keys_TC, values_TV))
    queries_NbC, keys_NbC, values_NbV = (tensor.unflatten(-2, (-1, chunk)) for tensor in padded)
    updates_NCV = keys_NbC.mT @ values_NbV
    states_NCV = functional.pad(updates_NCV.cumsum(-3)[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    mixed_NbV = queries_NbC @ states_NCV + (queries_NbC @ keys_NbC.mT).tril() @ values_NbV
    return mixed_NbV.flatten(-3, -2)[..., :tokens, :]
