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

from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
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

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with the bias, minus F."""
        selection_B1TS = selection(scores[..., :1, :, :], qkv.start)
        masked_B1TS = functional.pad(selection_B1TS[..., :-1, :], (0, 0, 1, 0)).cumsum(-2) + self.earlier_selections(
            qkv
        )
        return super().add_bias(scores, bias, qkv) - masked_B1TS

    def earlier_selections(self, qkv: QKV) -> Tensor:
        """Sum the selections of the queries before a chunk, in chunks of the same number of rows.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            B x 1 x 1 x S.
        """
        (queries_B1NC,) = qkv.extra
        lifted = qkv._replace(keys_BHSC=at_least_float32(qkv.keys_BHSC)[..., :1, :, :])
        total_B11S = lifted.keys_BHSC[..., :1].mT * 0
        first = 0
        for rows in at_least_float32(queries_B1NC)[..., : qkv.start, :].split(qkv.queries_BHTC.shape[-2], dim=-2):
            scores_B1NS = self.score(lifted._replace(queries_BHTC=rows))
            total_B11S = total_B11S + selection(scores_B1NS, first).sum(-2, keepdim=True)
            first += rows.shape[-2]
        return total_B11S


def selection(scores: Tensor, start: int) -> Tensor:
    """Compute ``relu`` of the scores of keys strictly before their query, without the first key.

    Args:
        scores: Scores of head 0, ... x T x S.
        start: Position of the first query among the keys.

    Returns:
        Selections, zero elsewhere, ... x T x S.
    """
    keys = torch.arange(scores.shape[-1], device=scores.device)
    return scores.relu().tril(start - 1) * (keys > 0)
