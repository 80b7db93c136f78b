"""GSA, gated slot attention: a memory of m slots in which every slot forgets at a rate computed from the token.

    A_ij = sum_r p_ir s_jr exp(g_(j+1),r + ... + g_ir)
    p_i  = softmax_r(q_i.K_ir)
    K_ir = sum_{j <= i} s_jr exp(g_(j+1),r + ... + g_ir) k_j
    g    = log sigmoid(W x) / 8,   s = 1 - exp(g)

with SiLU on queries, keys and values. Each slot is a moving average of keys and of values, so rows of A sum to at most
one. It is `abc` where the share that a token writes is the share that the slot forgets.

Source   Zhang et al., "Gated slot attention", arXiv:2409.07146; flash-linear-attention's ``ops/gsa``.
Theirs   alpha -> our exp(g);  tau -> our ``temper``;  the number of slots m -> our ``slots``.
Differs  no norm and no activation after the memory; their short convolution is a modifier. Scores are not divided by
         sqrt(C), as in their layer. m = 16 is ours.

Letters  B batch, H heads, T queries, S keys, C channels per head, V width of the values, M slots, N chunks of b tokens.
"""

from __future__ import annotations

from typing import Annotated, Any, final

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.scan import (
    CHANNEL_CHUNK,
    chunk_states,
    closed_form,
    remaining_decay,
    scan,
    segment_sums,
    to_chunks,
)
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("gsa", source="arXiv:2409.07146", aliases=("gated-slot",))
@final
class Gsa(Attention):
    """A memory of a few slots that forget, read with a softmax over the slots.

    Options:
        slots: m, the slots per head.
        temper: Divisor of the logarithm of the gate; 1 gives a memory of a few tokens.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC
    has_scores = False
    chunked_scan = True
    cost = "T m D"

    def __init__(
        self,
        context: LayerContext,
        *,
        slots: Annotated[int, Field(ge=1)] = 16,
        temper: Annotated[float, Field(gt=0)] = 8.0,
    ) -> None:
        super().__init__(context)
        self.temper = temper
        self.forget = context.linear(context.width, slots * context.heads)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + m D H``."""
        return 4 * width**2 + options["slots"] * width * heads

    def state_size(self, tokens: int) -> int:
        """A key and a value per slot, ``2 m C`` per head."""
        return 2 * self.forget.out_features * self.channels

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values after SiLU, and g of every slot."""
        decays_BHSM = functional.logsigmoid(at_least_float32(self.split(self.forget(x_BTD)))) / self.temper
        queries, keys, values = (functional.silu(one) for one in super().project(x_BTD, layer_inputs)[:3])
        return QKV(queries, keys, values, (decays_BHSM,))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form: keys of the slots, the softmax over them, and their values."""
        queries_BHTC, keys_BHSC, decays_BHSM = memory(qkv)
        writes_BHSM = written(decays_BHSM)
        scores_BHTM = closed_slot_scores(queries_BHTC, keys_BHSC, writes_BHSM, decays_BHSM, qkv.start)
        return closed_form(scores_BHTM.softmax(-1), writes_BHSM, decays_BHSM, qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where the output of all rows is computed, the closed form otherwise."""
        if not self.fast or qkv.start or qkv.queries_BHTC.shape[-2] != qkv.keys_BHSC.shape[-2]:
            return super().attend(qkv, position)
        queries_BHTC, keys_BHSC, decays_BHSM = memory(qkv)
        values_BHSC = at_least_float32(qkv.values_BHSC)
        mixed_BHTC = slot_scan(queries_BHTC, keys_BHSC, written(decays_BHSM), decays_BHSM, values_BHSC)
        return mixed_BHTC.to(qkv.values_BHSC.dtype)


def memory(qkv: QKV) -> tuple[Tensor, Tensor, Tensor]:
    """Take what the memory is made of.

    Args:
        qkv: Queries, keys and values, with g of all tokens.

    Returns:
        Queries, keys and g, float32 or more.
    """
    return at_least_float32(qkv.queries_BHTC), at_least_float32(qkv.keys_BHSC), at_least_float32(qkv.extra[0])


def written(decays_BHSM: Tensor) -> Tensor:
    """s, the share of each slot that a token writes: what the slot forgets.

    Args:
        decays_BHSM: g.

    Returns:
        B x H x S x M.
    """
    return -decays_BHSM.expm1()


def slot_scan(
    queries_BHTC: Tensor, keys_BHTC: Tensor, writes_BHTM: Tensor, decays_BHTM: Tensor, values_BHTV: Tensor
) -> Tensor:
    """What all tokens read from the slots, without ever holding T x T numbers.

    Args:
        queries_BHTC: q.
        keys_BHTC: k.
        writes_BHTM: s.
        decays_BHTM: g, at most 0.
        values_BHTV: v.

    Returns:
        B x H x T x V.
    """
    reads_BHTM = slot_scores(queries_BHTC, keys_BHTC, writes_BHTM, decays_BHTM).softmax(-1)
    return scan(reads_BHTM, writes_BHTM, decays_BHTM, values_BHTV)


def slot_scores(queries_BHTC: Tensor, keys_BHTC: Tensor, writes_BHTM: Tensor, decays_BHTM: Tensor) -> Tensor:
    """``q_i.K_ir`` for all tokens, chunk by chunk.

    Args:
        queries_BHTC: q.
        keys_BHTC: k.
        writes_BHTM: s.
        decays_BHTM: g, at most 0.

    Returns:
        B x H x T x M.
    """
    tensors = (queries_BHTC, keys_BHTC, writes_BHTM, decays_BHTM)
    queries, keys, writes, decays = (to_chunks(tensor, CHANNEL_CHUNK) for tensor in tensors)
    since_start = decays.cumsum(-2).exp()
    updates_BHNMC = (writes * remaining_decay(decays).exp()).mT @ keys
    states_BHNMC = chunk_states(updates_BHNMC, since_start[..., -1, :, None])
    scores = closed_slot_scores(queries, keys, writes, decays) + (queries @ states_BHNMC.mT) * since_start
    return scores.flatten(-3, -2)[..., : queries_BHTC.shape[-2], :]


def closed_slot_scores(
    queries_BHTC: Tensor, keys_BHSC: Tensor, writes_BHSM: Tensor, decays_BHSM: Tensor, start: int = 0
) -> Tensor:
    """``q_i.K_ir`` as one sum over the past.

    Args:
        queries_BHTC: Queries of some rows, or of all.
        keys_BHSC: k of all tokens.
        writes_BHSM: s of all tokens.
        decays_BHSM: g of all tokens.
        start: Index of the first query among the keys.

    Returns:
        B x H x T x M.
    """
    rows = slice(start, start + queries_BHTC.shape[-2])
    remaining_BHMTS = segment_sums(decays_BHSM.mT)[..., rows, :].exp()
    dots_BHTS = (queries_BHTC @ keys_BHSC.mT).tril(start)
    return (dots_BHTS.unsqueeze(-3) * remaining_BHMTS * writes_BHSM.mT.unsqueeze(-2)).sum(-1).mT
