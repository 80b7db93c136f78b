"""Native sparse attention: the sum of compressed blocks, a few selected blocks and the last tokens, gated.

    A   = g_c A_c + g_s A_s + g_w A_w,   g = sigmoid(W_g x)
    A_c = softmax(q.mean(k of b) / sqrt(C)) over the complete blocks b
    A_s = softmax(q.k / sqrt(C)) over the tokens of n blocks
    A_w = softmax(q.k / sqrt(C)) over the last w tokens

with three gates per head. A compressed block has the mean of its values. The n blocks are the own, the previous, the
first, then those with the largest A_c. Rows are non-negative and sum to g_c + g_s + g_w (without g_c before the
first complete block, where A_c is zero).

Source   Yuan et al., "Native Sparse Attention", arXiv:2502.11089; flash-linear-attention's implementation.
Theirs   selected block count -> our keep, n; sliding window size -> our window, w.
Differs  blocks are compressed to their mean, as in that implementation (the paper: a small network); they do not
         overlap, and are the same in the compressed and the selected branch. All three branches share keys and values
         (whether the paper's are separate is not known to us). Each query head selects its own blocks: there are no
         groups. The compressed branch uses the mean of a position's bias over the block. Sizes for short sequences
         are ours.

Letters  B batch, H heads, T queries, S keys, N blocks, D width, 3 the branches (compressed, selected, window).
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.attention.ops.selection import (
    checked_size,
    complete_blocks,
    expand_blocks,
    top_k_mask,
)
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, masked_softmax

Count = Annotated[int, Field(ge=1)]


FORCED = 3
"""Blocks that are selected whatever their weight: the own, the previous and the first."""


@register("native-sparse", source="arXiv:2502.11089", version=2, aliases=("nsa",))
@final
class NativeSparse(Attention):
    """Compressed, selected and recent tokens, each with its softmax, gated and added.

    Options:
        block: Tokens of a block; null is 8, or the longest sequence if that is shorter.
        keep: Blocks that a query selects, the own, the previous and the first among them; null is 4, or all.
        window: Last tokens of the window branch; null is 16, or the longest sequence if that is shorter.
    """

    row_constraint = RowConstraint.FREE
    cost = "T (T / b + n b + w) D"

    def __init__(
        self,
        context: LayerContext,
        *,
        block: Count | None = None,
        keep: Count | None = None,
        window: Count | None = None,
    ) -> None:
        super().__init__(context)
        self.block = checked_size("block", block, 8, context.length)
        self.keep = checked_size("keep", keep, 4, -(-context.length // self.block), f"blocks of {self.block}")
        self.window = checked_size("window", window, 16, context.length)
        self.gate = context.linear(context.width, 3 * context.heads)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 3 D H``."""
        return 4 * width**2 + 3 * width * heads

    def state_size(self, tokens: int) -> int:
        """A key and a value per token; where no block is selected by its weight, means of the blocks further back."""
        if self.keep > FORCED:
            return super().state_size(tokens)
        blocks, rest = divmod(tokens, self.block)
        recent = max(rest + (self.block if self.keep > 1 else 0), self.window - 1)
        first = self.block if self.keep == FORCED else 0
        whole = min(tokens, recent + first)
        means = max(0, blocks - max(0, recent - rest) // self.block - (1 if first else 0))
        return super().state_size(whole + means)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; the gates of each token as extra."""
        return super().project(x_BTD, layer_inputs)._replace(extra=(self.split(self.gate(x_BTD)).sigmoid(),))

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The gated sum of the three branches, B x H x T x S."""
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        coarse_BHTN = self.compressed(scores, rows_T1)
        selected = self.selected(coarse_BHTN, rows_T1, keys_S)
        branches = (
            expand_blocks(coarse_BHTN / self.block, keys_S, self.block),
            masked_softmax(scores, mask & selected),
            masked_softmax(scores, mask & (rows_T1 - keys_S < self.window)),
        )
        gates_BHT3 = at_least_float32(qkv.extra[0][..., qkv.start : qkv.start + scores.shape[-2], :])
        return sum((gates_BHT3[..., [n]] * branch for n, branch in enumerate(branches)), torch.zeros_like(scores))

    def compressed(self, scores: Tensor, rows_T1: Tensor) -> Tensor:
        """Compute the weights of the complete blocks; the score of a mean key is the mean of the scores.

        Args:
            scores: B x H x T x S.
            rows_T1: Position of each query.

        Returns:
            Weights of the blocks that end at or before the query, B x H x T x N.
        """
        means_BHTN = complete_blocks(scores.mT, self.block).mean(-2).mT
        ends_N = self.block * (torch.arange(means_BHTN.shape[-1], device=scores.device) + 1) - 1
        return masked_softmax(means_BHTN, ends_N <= rows_T1)

    def selected(self, coarse_BHTN: Tensor, rows_T1: Tensor, keys_S: Tensor) -> Tensor:
        """Select the blocks that each query attends to in full.

        Args:
            coarse_BHTN: Weights of the complete blocks.
            rows_T1: Position of each query.
            keys_S: Position of each key.

        Returns:
            bool, True for the tokens of the selected blocks, B x H x T x S.
        """
        own_T1, block_S = rows_T1 // self.block, keys_S // self.block
        blocks_N = torch.arange(-(-keys_S.shape[0] // self.block), device=keys_S.device)
        missing = blocks_N.shape[0] - coarse_BHTN.shape[-1]
        priority_BHTN = torch.nn.functional.pad(coarse_BHTN.detach(), (0, missing))
        for rank, forced_TN in enumerate((blocks_N == 0, blocks_N == own_T1 - 1, blocks_N == own_T1), start=2):
            priority_BHTN = priority_BHTN.masked_fill(forced_TN, float(rank))
        return top_k_mask(priority_BHTN, blocks_N <= own_T1, self.keep)[..., block_S]
