"""Softmaxes whose spectrum is moved against rank collapse: what all keys share alike is weakened, or the rest raised.

    attnscale  A = C + (1 + w_h) (P - C)
    centered   A = P - g C
    shaped     A = a_h I + b_h P - c_h C

with P causal softmax and C the equal shares it flattens to: row i gives ``1 / (i + 1)`` to each key up to i.

Source   attnscale: Wang et al., "Anti-oversmoothing in deep vision transformers", arXiv:2203.05962, and its code;
         shaped: Noci et al., "The shaped transformer", arXiv:2306.17759, as the code of simplified_transformers has
         it; centered: the same code, also Nait Saada et al., "Mind the gap", arXiv:2410.07799, where g = 1.
Theirs   w -> our w_h;  alpha, beta, gamma -> our a_h, b_h, c_h;  u = 11^T / T -> our C.
Differs  u, which looks ahead, is replaced by C everywhere; temperatures stay 1/sqrt(C). With g = 1 the first row of
         ``centered`` is zero: nothing but the skip connection carries the first token.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.attention.ops.rowwise import self_mask, uniform_weights
from attnlab.tensors import QKV, LayerContext, masked_softmax


@register("attnscale", source="arXiv:2203.05962")
@final
class AttnScale(Attention):
    """Softmax whose deviation from equal shares is scaled, by a learned factor per head: 1 at first."""

    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.more_H = nn.Parameter(torch.zeros(context.heads))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + H``."""
        return 4 * width**2 + heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax, and more of how it differs from equal shares."""
        softmax = masked_softmax(scores, mask)
        return softmax + self.more_H[:, None, None] * (softmax - uniform_weights(mask, scores.dtype))


@register("centered", source="arXiv:2306.17759, arXiv:2410.07799")
@final
class Centered(Attention):
    """Softmax less equal shares: rows sum to 1 - g.

    Options:
        gain: g, or its start.
        learned: Whether each head learns its own g.
    """

    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext, *, gain: float = 1.0, learned: bool = False) -> None:
        super().__init__(context)
        self.gain_H = nn.Parameter(torch.full((context.heads,), gain), requires_grad=learned)

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2``, and H where the gains are learned."""
        return 4 * width**2 + (heads if options["learned"] else 0)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax less its equal shares."""
        return masked_softmax(scores, mask) - self.gain_H[:, None, None] * uniform_weights(mask, scores.dtype)


@register("shaped", source="arXiv:2306.17759")
@final
class Shaped(Attention):
    """The identity, softmax and less of equal shares, by learned gains per head; exactly the identity at first.

    Options:
        silent: Whether queries start at zero, so that softmax starts as equal shares.
    """

    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext, *, silent: bool = True) -> None:
        super().__init__(context)
        if silent:
            nn.init.zeros_(self.query.weight)
        self.own_H, self.softmax_H, self.shares_H = (nn.Parameter(torch.ones(context.heads)) for _ in range(3))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + 3 H``."""
        return 4 * width**2 + 3 * heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The three matrices, weighed."""
        own, softmax, less = (gain_H[:, None, None] for gain_H in (self.own_H, self.softmax_H, self.shares_H))
        identity = self_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        return own * identity + softmax * masked_softmax(scores, mask) - less * uniform_weights(mask, scores.dtype)
