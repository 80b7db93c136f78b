"""Talking heads: heads exchange scores before the softmax, and weights after it.

    s^g <- sum_h P_gh s^h,   A^g <- sum_h R_gh softmax(s^h)

Source   Shazeer et al., "Talking-heads attention", arXiv:2003.02436.
Theirs   P_l, P_w -> our P, R.
Differs  P and R start as the identity and are learned as the difference from it, towards which weight decay then pulls.
         The position's bias is added before the heads mix: our choice.

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
    """Softmax attention whose heads mix their scores, and then their weights."""

    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.before = HeadMix(context)
        self.after = HeadMix(context)

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + 2 H^2``."""
        return 4 * width**2 + 2 * heads**2

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores of all heads, mixed; the mask comes later, since no infinity may be mixed."""
        return self.before(super().add_bias(scores, bias, qkv))

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Weights of all heads, mixed."""
        return self.after(super().normalize(scores, mask, qkv))


@final
class HeadMix(nn.Module):
    """A linear map over the heads that starts as the identity.

    Args:
        context: Where it stands.
    """

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.change_GH = nn.Parameter(torch.zeros(context.heads, context.heads))

    def forward(self, maps_BHTS: Tensor) -> Tensor:
        """Maps of the heads, mixed cell by cell."""
        changed = self.change_GH.to(maps_BHTS.dtype) @ maps_BHTS.flatten(-2)
        return maps_BHTS + changed.unflatten(-1, maps_BHTS.shape[-2:])
