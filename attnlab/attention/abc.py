"""ABC: attention over a bounded memory of m slots, which every token writes to as much as its control says.

    A_ij  = sum_r p_ir phi_jr / Z_ir
    p_i   = softmax_r(q_i.K_ir / sqrt(C))
    K_ir  = sum_{j <= i} phi_jr k_j / Z_ir
    phi_j = exp(W x_j),   Z_i = sum_{j <= i} phi_j

Rows sum to one. Since ``q_i.K_ir`` is ``sum_j (q_i.k_j) phi_jr / Z_ir``, both the reading of keys and that of values
are sums over the past of a product, and a scan holds no more than m x C numbers per chunk of tokens.

Source   Peng et al., "ABC", arXiv:2110.02488: ABC_MLP; flash-linear-attention's ``ops/abc``.
Theirs   n, the memory size -> our m, ``slots``.
Differs  of the paper's controls only the contextual one, which is linear in the stream; short convolution and output
         gate are modifiers. As in that implementation the logits of the control are held within 32 of zero, by which
         exp stays far inside float32 without the logarithm of a running sum. m = 16 is a third party's choice.
         Nothing is forgotten: Z only grows, and late tokens write less and less. m is no bound on the rank of A.

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

CHUNK, HELD = 64, 32.0


@register("abc", source="arXiv:2110.02488, ABC_MLP", aliases=("abc-mlp",))
@final
class Abc(Attention):
    """A memory of a few slots, written by a learned control, read by softmax over the slots.

    Options:
        slots: m, the slots of each head.
    """

    has_scores = False
    chunked_scan = True
    cost = "T m D"

    def __init__(self, context: LayerContext, *, slots: Annotated[int, Field(ge=1)] = 16) -> None:
        super().__init__(context)
        self.control = context.linear(context.width, slots * context.heads)

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + m D H``."""
        return 4 * width**2 + options["slots"] * width * heads

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and how much each token writes to each slot."""
        writes_BHSM = at_least_float32(self.split(self.control(x_BTD))).clamp(-HELD, HELD).exp()
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
        """The scan, chunk by chunk, where all rows are asked for; the closed form otherwise."""
        if not self.fast or qkv.start or qkv.queries_BHTC.shape[-2] != qkv.keys_BHSC.shape[-2]:
            return super().attend(qkv, position)
        writes_BHSM, totals_BHTM = self.memory(qkv)
        scores_BHTM = summed(at_least_float32(qkv.queries_BHTC), at_least_float32(qkv.keys_BHSC), writes_BHSM)
        reads_BHTM = self.reads(scores_BHTM, totals_BHTM)
        mixed_BHTC = summed(reads_BHTM, writes_BHSM, at_least_float32(qkv.values_BHSC))
        return mixed_BHTC.to(qkv.values_BHSC.dtype)

    def memory(self, qkv: QKV) -> tuple[Tensor, Tensor]:
        """What each token writes, and the total of each slot at the rows asked for."""
        writes_BHSM = at_least_float32(qkv.extra[0])
        totals_BHSM = writes_BHSM.cumsum(-2)
        return writes_BHSM, totals_BHSM[..., qkv.start : qkv.start + qkv.queries_BHTC.shape[-2], :]

    def reads(self, sums_BHTM: Tensor, totals_BHTM: Tensor) -> Tensor:
        """``p / Z``: how each query reads what was written."""
        return (sums_BHTM / totals_BHTM / math.sqrt(self.channels)).softmax(-1) / totals_BHTM


def summed(queries_TC: Tensor, keys_TC: Tensor, values_TV: Tensor) -> Tensor:
    """``sum_{j <= i} (q_i.k_j) v_j`` in time and memory linear in T."""
    tokens = queries_TC.shape[-2]
    chunk = min(CHUNK, tokens)
    filled = (functional.pad(each, (0, 0, 0, -tokens % chunk)) for each in (queries_TC, keys_TC, values_TV))
    queries_NbC, keys_NbC, values_NbV = (each.unflatten(-2, (-1, chunk)) for each in filled)
    written_NCV = keys_NbC.mT @ values_NbV
    before_NCV = functional.pad(written_NCV.cumsum(-3)[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    mixed_NbV = queries_NbC @ before_NCV + (queries_NbC @ keys_NbC.mT).tril() @ values_NbV
    return mixed_NbV.flatten(-3, -2)[..., :tokens, :]
