"""Sigmoid and ReLU attention: the weight of a key does not depend on the other keys.

    sigmoid  A_ij = sigmoid(s_ij + b),   b = -ln n
    relu     A_ij = relu(s_ij) / (i + 1),   i from 0

The sum of a row is not constrained. A row of ``relu`` without a positive score is zero.

Source   sigmoid: Ramapuram et al., "Theory, analysis, and best practices for sigmoid self-attention",
         arXiv:2409.04431; relu: Wortsman et al., "Replacing softmax with ReLU in vision transformers",
         arXiv:2309.08586.
Theirs   n -> our longest sequence of the run;  L -> our i + 1, the keys of row i.
Differs  b is one constant for all rows: a b by row would change its meaning with the length. The option ``sigmoid`` of
         x-transformers adds no b: ``bias: 0`` gives its weights. The published layers normalize queries and keys
         (sigmoid), or need a norm of the output (relu): use modifiers, such as
         ``--set model.modifiers.qk_norm=true``.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

import math
from typing import final

from torch import Tensor

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.tensors import QKV, LayerContext


@register("sigmoid", source="arXiv:2409.04431")
@final
class Sigmoid(Attention):
    """The weight of each key is the sigmoid of its score.

    Options:
        bias: b, added to every score; null is -ln n, n the longest sequence of the run.
    """

    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext, *, bias: float | None = None) -> None:
        super().__init__(context)
        self.bias = -math.log(context.length) if bias is None else bias

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Sigmoids of the shifted scores, B x H x T x S."""
        return (scores + self.bias).sigmoid().masked_fill(~mask, 0.0)


@register("relu", source="arXiv:2309.08586")
@final
class Relu(Attention):
    """Positive scores, divided by the number of keys of the row."""

    row_constraint = RowConstraint.FREE

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Positive scores over the number of keys of the row, B x H x T x S."""
        return scores.relu().masked_fill(~mask, 0.0) / mask.sum(-1, keepdim=True).clamp_min(1)
