"""Easy attention: the weights are learned numbers, blind to content.

    A_ij = alpha_ij for j <= i;   alpha: one T x T matrix per head

No query, no key, no softmax. It can learn where to look, never what to look for: recall stays at chance.

Source   Sanchis-Agudo et al., "Easy attention", arXiv:2308.12874, and its public code.
Theirs   the dense alpha -> ours; W_V -> ours, applied to features (their code applies it on the side of time, which
         runs only where T = D).
Differs  causal: alpha above the diagonal is never heard, though it counts among the weights. alpha starts at
         N(0, 1 / (i + 1)^2), so that rows neither grow nor vanish with their length (theirs: Xavier). An output
         projection follows, as in every other attention here. There is nothing beyond the longest sequence.

Letters  B batch, H heads, T queries, S keys, L longest sequence.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs


@register("easy", source="arXiv:2308.12874")
@final
class Easy(Attention):
    """Learned weights for every pair of places, whatever stands there: a control that cannot recall."""

    row_constraint = RowConstraint.FREE
    has_scores = False
    unsupported_modifiers = {"qk_norm": "it has no queries or keys"}

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        del self.query, self.key
        alpha_HLL = context.normal(context.heads, context.length, context.length, std=1.0)
        self.alpha_HLL = nn.Parameter(alpha_HLL.detach() / torch.arange(1, context.length + 1)[:, None])

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``2 D^2 + H L^2``."""
        return 2 * width**2 + heads * length**2

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Values; they stand in for the queries and keys, which no one reads."""
        values_BHSC = self.split(self.value(x_BTD))
        return QKV(values_BHSC, values_BHSC, values_BHSC)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The corner of alpha that the sequence fills, H x T x S.

        Raises:
            InvalidValueError: the sequence is longer than alpha.
        """
        longest, queries, keys = self.alpha_HLL.shape[-1], qkv.queries_BHTC.shape[-2], qkv.keys_BHSC.shape[-2]
        if keys > longest:
            hint = "Give the model a longer 'length', or an attention that reads content."
            raise InvalidValueError(f"Easy attention ends at {longest} tokens; the sequence has {keys}.", hint)
        return self.alpha_HLL[:, qkv.start : qkv.start + queries, :keys].tril(qkv.start)
