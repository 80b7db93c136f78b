"""MoBA, mixture of block attention: each query attends to its own block and to past blocks with similar mean keys.

    g_ib = q_i.mean(k_j: j in b)     for the blocks b before the query's own
    A    = softmax(q.k / sqrt(C))    over the own block so far and the
                                     n - 1 blocks with the largest g

Source   Lu et al., "MoBA", arXiv:2502.13189; flash-linear-attention's implementation.
Theirs   top-k -> our keep: the own block is one of them; block size -> our block.
Differs  with ``keep: 1`` a query attends to its own block only, never to everything. A position's bias is added to the
         scores of the keys; the selection of blocks does not depend on it. Of blocks that are equal up to rounding the
         earliest are selected. Sizes for short sequences are ours.

Letters  H heads, T queries, S keys, N blocks, C channels per head.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, register
from attnlab.attention.ops.selection import (
    checked_size,
    complete_blocks,
    expand_blocks,
    top_k_mask,
)
from attnlab.tensors import QKV, LayerContext, at_least_float32

Count = Annotated[int, Field(ge=1)]


@register("moba", source="arXiv:2502.13189", version=2)
@final
class Moba(Attention):
    """Softmax over the own block and a few selected blocks of the past.

    Options:
        block: Tokens of a block; null is 8, or the longest sequence if that is shorter.
        keep: Blocks that a query attends to, its own among them; null is 3, or all blocks if there are fewer.
    """

    cost = "T (n b + T / b) D"

    def __init__(self, context: LayerContext, *, block: Count | None = None, keep: Count | None = None) -> None:
        super().__init__(context)
        self.block = checked_size("block", block, 8, context.length)
        self.keep = checked_size("keep", keep, 3, -(-context.length // self.block), f"blocks of {self.block}")

    def state_size(self, tokens: int) -> int:
        """A key and a value per token; of the own block alone where no other is selected."""
        return super().state_size(tokens if self.keep > 1 else tokens % self.block)

    def mask(self, qkv: QKV) -> Tensor:
        """The own block and the selected blocks before it, B x H x T x S."""
        own_T1, keys_S = qkv.query_indices_T1 // self.block, qkv.key_indices_S
        means_HNC = complete_blocks(at_least_float32(qkv.keys_BHSC), self.block).mean(-2)
        affinity_HTN = at_least_float32(qkv.queries_BHTC) @ means_HNC.mT
        past_TN = torch.arange(means_HNC.shape[-2], device=keys_S.device) < own_T1
        selected_HTN = top_k_mask(affinity_HTN, past_TN, self.keep - 1)
        return expand_blocks(selected_HTN, keys_S, self.block) | (keys_S // self.block == own_T1)
