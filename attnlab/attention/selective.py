"""Selective attention: tokens that one head looks at can be masked for those who come after.

    s_ij <- s_ij - F_ij,   F_ij = sum_{j < t < i} relu(s^0_tj),   F_i0 = 0

s^0 are the scores of head 0. A token t never masks at its own step (the sum ends before i), nor itself (it starts after
j), and the first token, the place of a sequence's start, is never masked. All heads feel the same F.

Source   Leviathan, Kalman and Matias, "Selective attention improves transformer", arXiv:2410.02703. The formula is
         known from third parties; its causality was verified here.
Theirs   S -> our relu(s^0); F -> ours.
Differs  F reads the scores of head 0 before the position's bias (a rotation is felt): our choice. Their pruning of the
         cache and the loss that goes with it are left out.

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
    """Softmax attention in which head 0 also decides what later tokens need not hear."""

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """QKV, with the queries of head 0 kept whole: a chunk of rows needs what earlier rows selected."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        return qkv._replace(extra=(qkv.queries_BHTC[..., :1, :, :],))

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores less what head 0 has selected since each key."""
        chosen_B1TS = selected(scores[..., :1, :, :], qkv.start)
        masked_B1TS = functional.pad(chosen_B1TS[..., :-1, :], (0, 0, 1, 0)).cumsum(-2) + self.before(qkv)
        return super().add_bias(scores, bias, qkv) - masked_B1TS

    def before(self, qkv: QKV) -> Tensor:
        """What the queries before this chunk have selected, B x 1 x 1 x S; as few of their rows at a time as it has."""
        (queries_B1NC,) = qkv.extra
        lifted = qkv._replace(keys_BHSC=at_least_float32(qkv.keys_BHSC)[..., :1, :, :])
        total_B11S = lifted.keys_BHSC[..., :1].mT * 0
        first = 0
        for rows in at_least_float32(queries_B1NC)[..., : qkv.start, :].split(qkv.queries_BHTC.shape[-2], dim=-2):
            scores_B1NS = self.score(lifted._replace(queries_BHTC=rows))
            total_B11S = total_B11S + selected(scores_B1NS, first).sum(-2, keepdim=True)
            first += rows.shape[-2]
        return total_B11S


def selected(scores: Tensor, start: int) -> Tensor:
    """``relu`` of scores of keys strictly before their query, the first key left out."""
    keys = torch.arange(scores.shape[-1], device=scores.device)
    return scores.relu().tril(start - 1) * (keys > 0)
