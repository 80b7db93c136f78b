"""Talking heads: scores are mixed over the heads before the softmax, and weights after it.

    s^g <- sum_h P_gh s^h,   A^g <- sum_h R_gh softmax(s^h)

Source   Shazeer et al., "Talking-heads attention", arXiv:2003.02436.
Theirs   P_l, P_w -> our P, R.
Differs  P and R start as the identity; the parameters are the differences from it, so that weight decay pulls towards
         the identity. The position's bias is added before the heads are mixed: our choice.

Letters  B batch, G and H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.tensors import QKV, LayerContext


@register("talking-heads", source="arXiv:2003.02436")
@final
class TalkingHeads(Attention):
    """Softmax attention with linear maps over the heads, of the scores and of the weights."""

    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.before = HeadMix(context)
        self.after = HeadMix(context)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 2 H^2``."""
        return 4 * width**2 + 2 * heads**2

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with the bias, mixed over the heads; the mask is applied later, since infinities cannot be mixed."""
        return self.before(super().add_bias(scores, bias, qkv))

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Weights mixed over the heads, B x H x T x S."""
        return self.after(super().normalize(scores, mask, qkv))


@final
class HeadMix(nn.Module):
    """A linear map over the heads that starts as the identity.

    Args:
        context: The layer that the attention is built for.
    """

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.change_GH = nn.Parameter(torch.zeros(context.heads, context.heads))

    def forward(self, maps_BHTS: Tensor) -> Tensor:
        """Mix maps over the heads, cell by cell.

        Args:
            maps_BHTS: Scores or weights.

        Returns:
            B x H x T x S.
        """
        changed = self.change_GH.to(maps_BHTS.dtype) @ maps_BHTS.flatten(-2)
        return maps_BHTS + changed.unflatten(-1, maps_BHTS.shape[-2:])
