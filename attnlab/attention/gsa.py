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

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.scan import (
    CHANNEL_CHUNK,
    chunk_states,
    remaining_decay,
    segment_sums,
    to_chunks,
)
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


class SlotMemory(Attention):
    """A memory of a few slots, read with a softmax over them; a variant computes how much each token makes them forget.

    The logarithm g of what remains of each slot is the one further tensor of ``project``.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC
    has_scores = False
    chunked_scan = True
    cost = "T m D"

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form: keys of the slots, the softmax over them, and their values."""
        queries_BHTC, keys_BHSC, decays_BHSM = memory(qkv)
        kept_BHMTS = kept_writes(written(decays_BHSM), decays_BHSM, qkv.start, queries_BHTC.shape[-2])
        reads_BHTM = slot_scores((queries_BHTC @ keys_BHSC.mT).tril(qkv.start), kept_BHMTS).softmax(-1)
        return slot_weights(reads_BHTM, kept_BHMTS).tril(qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where the output of all rows is computed, the closed form otherwise."""
        if not self.fast or qkv.start or qkv.queries_BHTC.shape[-2] != qkv.keys_BHSC.shape[-2]:
            return super().attend(qkv, position)
        queries_BHTC, keys_BHSC, decays_BHSM = memory(qkv)
        values_BHSC = at_least_float32(qkv.values_BHSC)
        mixed_BHTC = slot_scan(queries_BHTC, keys_BHSC, written(decays_BHSM), decays_BHSM, values_BHSC)
        return mixed_BHTC.to(qkv.values_BHSC.dtype)


@register("gsa", source="arXiv:2409.07146", aliases=("gated-slot",))
@final
class Gsa(SlotMemory):
    """A memory of a few slots that forget, read with a softmax over the slots.

    Options:
        slots: m, the slots per head.
        temper: Divisor of the logarithm of the gate; 1 gives a memory of a few tokens.
    """

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

    def activate(self, projected_BTP: Tensor) -> Tensor:
        """SiLU."""
        return functional.silu(projected_BTP)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values after SiLU, and g of every slot."""
        decays_BHSM = functional.logsigmoid(at_least_float32(self.split(self.forget(x_BTD)))) / self.temper
        queries, keys, values = super().project(x_BTD, layer_inputs)[:3]
        return QKV(queries, keys, values, (decays_BHSM,))


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
    tensors = (queries_BHTC, keys_BHTC, writes_BHTM, decays_BHTM, values_BHTV)
    queries, keys, writes, decays, values = (to_chunks(tensor, CHANNEL_CHUNK) for tensor in tensors)
    since_start, kept_BHNMbb = decays.cumsum(-2).exp(), kept_writes(writes, decays)
    # One scan of keys and values side by side: both are written to the slots with the same shares.
    updates_BHNMCV = (writes * remaining_decay(decays).exp()).mT @ torch.cat([keys, values], dim=-1)
    states_BHNMCV = chunk_states(updates_BHNMCV, since_start[..., -1, :, None])
    key_states, value_states = states_BHNMCV.split([keys.shape[-1], values.shape[-1]], dim=-1)
    scores = slot_scores((queries @ keys.mT).tril(), kept_BHNMbb) + (queries @ key_states.mT) * since_start
    reads = scores.softmax(-1)
    mixed = slot_weights(reads, kept_BHNMbb).tril() @ values + (reads * since_start) @ value_states
    return mixed.flatten(-3, -2)[..., : queries_BHTC.shape[-2], :]


def kept_writes(writes_BHSM: Tensor, decays_BHSM: Tensor, start: int = 0, rows: int | None = None) -> Tensor:
    """What is left of the share that each token wrote to each slot, at each later token.

    Args:
        writes_BHSM: s of all tokens.
        decays_BHSM: g of all tokens.
        start: Index of the first row.
        rows: Number of rows; None is all from the first on.

    Returns:
        ``s_jr exp(g_(j+1),r + ... + g_ir)`` for j <= i, B x H x M x T x S; entries for later j have no meaning.
    """
    stop = decays_BHSM.shape[-2] if rows is None else start + rows
    return segment_sums(decays_BHSM.mT)[..., start:stop, :].exp() * writes_BHSM.mT.unsqueeze(-2)


def slot_scores(dots_BHTS: Tensor, kept_BHMTS: Tensor) -> Tensor:
    """``q_i.K_ir`` as a sum over tokens.

    Args:
        dots_BHTS: ``q_i.k_j``, zero for later j.
        kept_BHMTS: What is left of the shares.

    Returns:
        B x H x T x M.
    """
    return (dots_BHTS.unsqueeze(-3) * kept_BHMTS).sum(-1).mT


def slot_weights(reads_BHTM: Tensor, kept_BHMTS: Tensor) -> Tensor:
    """``sum_r p_ir`` times what is left of the shares.

    Args:
        reads_BHTM: p.
        kept_BHMTS: What is left of the shares.

    Returns:
        B x H x T x S; entries for later tokens have no meaning.
    """
    return (reads_BHTM.mT.unsqueeze(-1) * kept_BHMTS).sum(-3)
