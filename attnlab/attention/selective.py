"""Selective attention: the scores of head 0 for a token are subtracted from its scores in all later rows.

    s_ij <- s_ij - F_ij,   F_ij = sum_{j < t < i} relu(s^0_tj),   F_i0 = 0

s^0 are the scores of head 0. A token t masks nothing in its own row (the sum ends before i), and never itself (the sum
starts after j). The first token, where a begin-of-sequence token would be, is never masked. All heads share F.

Source   Leviathan, Kalman and Matias, "Selective attention improves transformer", arXiv:2410.02703. The formula is
         that of third parties; its causality was verified here.
Theirs   S -> our relu(s^0); F -> ours.
Differs  F reads the scores of head 0 before the position's bias (but after a rotation): our choice. Their pruning of
         the cache and its loss are left out.

Letters  B batch, H heads, T queries, S keys, N earlier queries.
"""

from __future__ import annotations

import math
from typing import final

from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.ops.earlier_sums import GROUP, earlier_sums, keep_earlier, positive_scores
from attnlab.tensors import QKV, LayerInputs, at_least_float32


@register("selective", source="arXiv:2410.02703")
@final
class Selective(Attention):
    """Softmax attention in which head 0 also masks tokens for later queries."""

    def state_size(self, tokens: int) -> int:
        """A key, a value and the sum F for each token."""
        return super().state_size(tokens) + tokens

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; all queries of head 0 as extra, since a chunk of rows needs earlier selections."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        return qkv._replace(extra=(qkv.queries_BHTC[..., :1, :, :],))

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; blocks of queries read the selections before them from sums made once."""
        if self.fast and self.block_rows(qkv) < qkv.queries_BHTC.shape[-2]:
            qkv = qkv._replace(extra=(*qkv.extra, earlier_sums(*selecting(qkv))))
        return super().attend(qkv, position)

    def block_rows(self, qkv: QKV) -> int:
        """The rows of whole groups, where they are that many: before each group the sums are known."""
        rows = super().block_rows(qkv)
        return max(rows // GROUP * GROUP, min(rows, GROUP))

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with the bias, minus F."""
        selection_B1TS = keep_earlier(scores[..., :1, :, :].relu(), qkv.start)
        within_B1TS = functional.pad(selection_B1TS[..., :-1, :], (0, 0, 1, 0)).cumsum(-2)
        return super().add_bias(scores, bias, qkv) - within_B1TS - earlier_selections(qkv)


def earlier_selections(qkv: QKV) -> Tensor | int:
    """Sum the selections of the queries before a chunk.

    Args:
        qkv: Queries, keys and values; the queries may be a chunk of the rows.

    Returns:
        B x 1 x 1 x S; zero before the first query.
    """
    if qkv.start == 0:
        return 0
    queries_B1NC, keys_B1SC, scale = selecting(qkv)
    groups = qkv.start // GROUP
    first = groups * GROUP
    total_B11S = positive_scores(queries_B1NC[..., first : qkv.start, :], keys_B1SC, scale, first).sum(-2, keepdim=True)
    if not groups:
        return total_B11S
    sums_B1SN = qkv.extra[1] if len(qkv.extra) > 1 else earlier_sums(queries_B1NC, keys_B1SC, scale)
    return total_B11S + sums_B1SN[..., groups - 1].unsqueeze(-2)


def selecting(qkv: QKV) -> tuple[Tensor, Tensor, float]:
    """Take what selections are made of.

    Args:
        qkv: Queries, keys and values.

    Returns:
        Queries and keys of head 0, float32 or more, and the scale of their products.
    """
    queries_B1NC, keys_B1SC = at_least_float32(qkv.extra[0]), at_least_float32(qkv.keys_BHSC[..., :1, :, :])
    return queries_B1NC, keys_B1SC, 1 / math.sqrt(queries_B1NC.shape[-1])
