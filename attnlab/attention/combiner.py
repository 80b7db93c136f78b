"""Combiner: factorized full attention, near tokens one by one and far tokens through spans.

    A_ij = p(j|i)          for j in the direct set of i
    A_ij = p(r|i) p(j|r)   for j in the span r of i

    p(j|i) ~ exp(q_i.k_j / sqrt(C))
    p(r|i) ~ exp(q_i.K_r / sqrt(C))     both under one normalizer
    p(j|r) = softmax_{j in r}(Q_r.k_j / sqrt(C))

with K_r and Q_r the maximum of keys and queries over the span, channel by channel. The direct set and the spans
partition {0 .. i}, so every row sums to one with full support. Within a span all queries weight the tokens alike: the
block of the matrix where queries share a span has rank 1, and one layer cannot select a single token of it.

    fixed      direct: own block up to i;     spans: every block before it
    logsparse  direct: the token itself;      spans: by binary digits of i
    axial      direct: own row and column;    spans: the other columns above

Source   Ren et al., "Combiner", arXiv:2107.05768, and its public code.
Theirs   direct expectation -> our direct set; local expectation -> our span; max_seg_len -> our block.
Differs  queries and keys of spans are pooled by the maximum only (theirs also: DeepSets). Of the three axial forms
         this is the vertical one; the others, and mixtures of two partitions, are left out. logsparse counts tokens
         from 0, so that for odd i the last span is the previous token alone. In a sequence of 2^n + 1 tokens the code
         gives the last token no span, so that it attends to itself alone; here it has full support.

Letters  B batch, H heads, T queries, S keys, N blocks (or rows of the grid), b tokens of a block, A columns
         of the grid, C channels.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.ops.selection import checked_size, complete_blocks, expand_blocks
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, masked_softmax


@register("combiner", source="arXiv:2107.05768")
@final
class Combiner(Attention):
    """Full support at subquadratic cost: direct tokens and spans.

    Options:
        partition: ``fixed``, ``logsparse`` or ``axial``.
        block: Tokens of a block (fixed) or of a row of the grid (axial); null is the square root of
            the longest sequence.
    """

    has_scores = False
    cost = "T sqrt(T) D, or T log T D"

    def __init__(
        self,
        context: LayerContext,
        *,
        partition: Literal["fixed", "logsparse", "axial"] = "fixed",
        block: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__(context)
        if partition == "logsparse" and block is not None:
            raise InvalidValueError(
                "'block' has no meaning for logsparse: its spans are powers of two.",
                "Leave 'block' out, or use partition=fixed or partition=axial.",
            )
        self.partition = partition
        self.block = checked_size("block", block, max(1, round(math.sqrt(context.length))), context.length)

    def state_size(self, tokens: int) -> int:
        """A key and a value per token; largest queries of spans; for ``fixed``, whole blocks as one key and value."""
        width = self.query.out_features
        if self.partition == "fixed":
            blocks, rest = divmod(tokens, self.block)
            return super().state_size(blocks + rest) + (width if rest else 0)
        spans = tokens.bit_count() if self.partition == "logsparse" else min(tokens, self.block)
        return super().state_size(tokens) + spans * width

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values, and the queries of all tokens again: spans need them for any chunk of the rows."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        return qkv._replace(extra=(qkv.queries_BHTC,))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The factorized matrix, B x H x T x S."""
        qkv = qkv._replace(
            queries_BHTC=at_least_float32(qkv.queries_BHTC),
            keys_BHSC=at_least_float32(qkv.keys_BHSC),
            extra=(at_least_float32(qkv.extra[0]),),
        )
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        match self.partition:
            case "fixed":
                own_TS = keys_S // self.block == rows_T1 // self.block
                return self.blocked(qkv, own_TS & (keys_S <= rows_T1), [self.block])
            case "logsparse":
                sizes = [2**level for level in range((keys_S.shape[0] - 1).bit_length())]
                return self.blocked(qkv, keys_S == rows_T1, sizes)
            case "axial":
                return self.gridded(qkv)

    def blocked(self, qkv: QKV, direct_TS: Tensor, sizes: list[int]) -> Tensor:
        """The matrix where spans are aligned blocks of one or several sizes.

        Args:
            qkv: Queries, keys, values, and the queries of all tokens; in float32 or more.
            direct_TS: bool, the direct set of each query.
            sizes: Tokens of a span, for each size.

        Returns:
            B x H x T x S.
        """
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        scores, allowed = [self.score(qkv)], [direct_TS]
        inner = []
        for size in sizes:
            keys_BHNbC, queries_BHNbC = (complete_blocks(tensor, size) for tensor in (qkv.keys_BHSC, qkv.extra[0]))
            scores.append(self.scaled_products(qkv.queries_BHTC, keys_BHNbC.amax(-2)))
            allowed.append(self.span_mask(rows_T1, keys_BHNbC.shape[-3], size))
            pooled_BHN1C = queries_BHNbC.amax(-2).unsqueeze(-2)
            inner_BHNb = self.scaled_products(pooled_BHN1C, keys_BHNbC).squeeze(-2).softmax(-1)
            inner.append(inner_BHNb.flatten(-2))
        weights = masked_softmax(torch.cat(scores, -1), torch.cat(allowed, -1))
        direct, *spans = weights.split([part.shape[-1] for part in scores], -1)
        matrix = direct
        for span, inner_BHs, size in zip(spans, inner, sizes, strict=True):
            remainder = keys_S.shape[0] - inner_BHs.shape[-1]
            padded_BHS = functional.pad(inner_BHs, (0, remainder))
            matrix = matrix + expand_blocks(span, keys_S, size) * padded_BHS.unsqueeze(-2)
        return matrix

    def span_mask(self, rows_T1: Tensor, blocks: int, size: int) -> Tensor:
        """The blocks that are spans of a query: for fixed all before its own, for logsparse those of its binary digits.

        Args:
            rows_T1: Indices of the queries.
            blocks: N, the number of complete blocks.
            size: Tokens per block.

        Returns:
            bool, T x N.
        """
        blocks_N = torch.arange(blocks, device=rows_T1.device)
        own_T1 = rows_T1 // size
        if self.partition == "fixed":
            return blocks_N < own_T1
        return (own_T1 % 2 == 1) & (blocks_N == own_T1 - 1)

    def gridded(self, qkv: QKV) -> Tensor:
        """The matrix where spans are the columns of a grid above a row, without the query's own column.

        Args:
            qkv: Queries, keys, values, and the queries of all tokens; in float32 or more.

        Returns:
            B x H x T x S.
        """
        rows_T1, keys_S, columns = qkv.query_indices_T1, qkv.key_indices_S, self.block
        row_T1, column_T1, row_S, column_S = rows_T1 // columns, rows_T1 % columns, keys_S // columns, keys_S % columns
        direct_TS = ((row_S == row_T1) | (column_S == column_T1)) & (keys_S <= rows_T1)
        others_TA = (row_T1 > 0) & (torch.arange(columns, device=keys_S.device) != column_T1)
        keys_BHNAC, queries_BHNAC = self.grid(qkv.keys_BHSC), self.grid(qkv.extra[0])
        inner_BHNS = self.column_weights(pooled_above(queries_BHNAC), keys_BHNAC)[..., : keys_S.shape[0]]
        pooled_BHTAC = pooled_above(keys_BHNAC)[..., row_T1.squeeze(-1), :, :]
        spans_BHTA = self.scaled_products(qkv.queries_BHTC.unsqueeze(-2), pooled_BHTAC).squeeze(-2)
        scores, allowed = torch.cat([self.score(qkv), spans_BHTA], -1), torch.cat([direct_TS, others_TA], -1)
        direct_BHTS, span_BHTA = masked_softmax(scores, allowed).split([keys_S.shape[0], columns], -1)
        return direct_BHTS + span_BHTA[..., column_S] * inner_BHNS[..., row_T1.squeeze(-1), :]

    def grid(self, tensor_SC: Tensor) -> Tensor:
        """Tokens in rows of the grid; the last row is padded with zeros, which are never pooled.

        Args:
            tensor_SC: ... x S x C.

        Returns:
            ... x N x A x C.
        """
        tokens = tensor_SC.shape[-2]
        padded_SC = functional.pad(tensor_SC, (0, 0, 0, -tokens % self.block))
        return padded_SC.unflatten(-2, (-1, self.block))

    def column_weights(self, pooled_NAC: Tensor, keys_NAC: Tensor) -> Tensor:
        """The weights within the columns above each row.

        Args:
            pooled_NAC: Q_r of the column above each row.
            keys_NAC: Keys in rows of the grid.

        Returns:
            ... x N x (N A), the tokens in their order.
        """
        scores_ANN = self.scaled_products(pooled_NAC.transpose(-3, -2), keys_NAC.transpose(-3, -2))
        earlier_NN = torch.ones(scores_ANN.shape[-2:], dtype=torch.bool, device=scores_ANN.device).tril(-1)
        return masked_softmax(scores_ANN, earlier_NN).movedim(-3, -1).flatten(-2)

    def scaled_products(self, queries_TC: Tensor, keys_SC: Tensor) -> Tensor:
        """``q.k / sqrt(C)``.

        Args:
            queries_TC: ... x T x C.
            keys_SC: ... x S x C.

        Returns:
            ... x T x S.
        """
        return queries_TC @ keys_SC.mT / math.sqrt(queries_TC.shape[-1])


def pooled_above(grid_NAC: Tensor) -> Tensor:
    """The maximum of each column above each row; zeros above the first row.

    Args:
        grid_NAC: Tokens in rows of the grid.

    Returns:
        ... x N x A x C.
    """
    largest_NAC = grid_NAC.cummax(-3).values
    return torch.cat([torch.zeros_like(largest_NAC[..., :1, :, :]), largest_NAC[..., :-1, :, :]], dim=-3)
