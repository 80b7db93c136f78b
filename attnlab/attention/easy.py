"""Easy attention: the weights are learned numbers that do not depend on content.

    A_ij = alpha_ij for j <= i;   alpha: one T x T matrix per head

There are no queries, no keys and no softmax. The weights depend on positions alone: recall stays at chance.

Source   Sanchis-Agudo et al., "Easy attention", arXiv:2308.12874, and its public code.
Theirs   the dense alpha -> ours; W_V -> ours, applied to features (their code applies it on the side of time, which
         runs only where T = D).
Differs  causal: alpha above the diagonal is never used, though it counts among the parameters. alpha starts at
         N(0, 1 / (i + 1)^2), so that rows neither grow nor vanish with their length (theirs: Xavier). An output
         projection follows, as in every other attention here. A sequence longer than alpha is an error.

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
    """A learned weight for every pair of positions, whatever their tokens: a control that cannot recall."""

    row_constraint = RowConstraint.FREE
    has_scores = False
    unsupported_modifiers = {"qk_norm": "it has no queries or keys"}

    own_projections = True

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        del self.query, self.key
        alpha_HLL = context.normal(context.heads, context.length, context.length, std=1.0)
        self.alpha_HLL = nn.Parameter(alpha_HLL.detach() / torch.arange(1, context.length + 1)[:, None])

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D^2 + H L^2``."""
        return 2 * width**2 + heads * length**2

    def state_size(self, tokens: int) -> int:
        """A value per token."""
        return tokens * self.value.out_features

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Values, also in the place of queries and keys, which are not used."""
        values_BHSC = self.split(self.value(x_BTD))
        return QKV(values_BHSC, values_BHSC, values_BHSC)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The part of alpha up to the length of the sequence, H x T x S.

        Raises:
            InvalidValueError: the sequence is longer than alpha.
        """
        longest, queries, keys = self.alpha_HLL.shape[-1], qkv.queries_BHTC.shape[-2], qkv.keys_BHSC.shape[-2]
        if keys > longest:
            hint = f"Use sequences of at most {longest} tokens, build the model with a longer 'length', or use softmax."
            raise InvalidValueError(f"Easy attention has weights for {longest} tokens; the sequence has {keys}.", hint)
        return self.alpha_HLL[:, qkv.start : qkv.start + queries, :keys].tril(qkv.start)
