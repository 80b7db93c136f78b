"""Softmaxes with a changed spectrum, against rank collapse: the uniform part is reduced, or the rest amplified.

    attnscale  A = C + (1 + w_h) (P - C)
    centered   A = P - g C
    shaped     A = a_h I + b_h P - c_h C

with P the causal softmax and C uniform causal attention: row i has ``1 / (i + 1)`` at each key up to i.

Source   attnscale: Wang et al., "Anti-oversmoothing in deep vision transformers", arXiv:2203.05962, and its code;
         shaped: Noci et al., "The shaped transformer", arXiv:2306.17759, as the code of simplified_transformers has
         it; centered: the same code, also Nait Saada et al., "Mind the gap", arXiv:2410.07799, where g = 1.
Theirs   w -> our w_h;  alpha, beta, gamma -> our a_h, b_h, c_h;  u = 11^T / T -> our C.
Differs  u, which is not causal, is replaced by C everywhere; temperatures stay 1/sqrt(C). With g = 1 the first row of
         ``centered`` is zero: the first token passes through the residual connection alone.

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
    """Softmax with its deviation from uniform attention scaled by a learned factor per head, initially 1."""

    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.more_H = nn.Parameter(torch.zeros(context.heads))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + H``."""
        return 4 * width**2 + heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax plus w_h times its deviation from uniform attention, B x H x T x S."""
        softmax = masked_softmax(scores, mask)
        return softmax + self.more_H[:, None, None] * (softmax - uniform_weights(mask, scores.dtype))


@register("centered", source="arXiv:2306.17759, arXiv:2410.07799")
@final
class Centered(Attention):
    """Softmax minus g times uniform attention: rows sum to 1 - g.

    Options:
        gain: g, or its initial value.
        learned: Whether g is learned, one per head.
    """

    hides_keys = False
    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext, *, gain: float = 1.0, learned: bool = False) -> None:
        super().__init__(context)
        self.gain_H = nn.Parameter(torch.full((context.heads,), gain), requires_grad=learned)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2``, and H where the gains are learned."""
        return 4 * width**2 + (heads if options["learned"] else 0)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Softmax minus g times uniform attention, B x H x T x S."""
        return masked_softmax(scores, mask) - self.gain_H[:, None, None] * uniform_weights(mask, scores.dtype)


@register("shaped", source="arXiv:2306.17759")
@final
class Shaped(Attention):
    """The identity plus softmax minus uniform attention, with learned gains per head; initially the identity.

    Options:
        silent: Whether the query weights start at zero, so that softmax starts as uniform attention.
    """

    hides_keys = False
    row_constraint = RowConstraint.SIGNED

    def __init__(self, context: LayerContext, *, silent: bool = True) -> None:
        super().__init__(context)
        if silent:
            nn.init.zeros_(self.query.weight)
        self.own_H, self.softmax_H, self.shares_H = (nn.Parameter(torch.ones(context.heads)) for _ in range(3))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 3 H``."""
        return 4 * width**2 + 3 * heads

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The weighted sum of the three matrices, B x H x T x S."""
        identity_gain, softmax_gain, uniform_gain = (
            gain_H[:, None, None] for gain_H in (self.own_H, self.softmax_H, self.shares_H)
        )
        identity = self_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        weights = identity_gain * identity + softmax_gain * masked_softmax(scores, mask)
        return weights - uniform_gain * uniform_weights(mask, scores.dtype)
