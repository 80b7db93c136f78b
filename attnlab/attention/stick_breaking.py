"""Stick-breaking attention: the nearest key takes its share of a stick of length one, the next its share of the rest.

    A_ij = b_ij prod_{j < k < i} (1 - b_ik),   b_ij = sigmoid(s_ij),   j < i

Order is felt without any position: of equal keys the nearer one takes more. What no key takes, the rest of the stick
``prod_{k < i} (1 - b_ik)``, is lost, or goes to the query's own value. The first row has no key before it: it is zero,
or its own value. Products are sums of logarithms, each running over later keys only, so that nothing cancels.

Source   Tan et al., "Stick-breaking attention", arXiv:2410.17980, and its code.
Theirs   beta -> our b.
Differs  in nothing; ``itself`` and ``remainder`` are their options too. It is meant for position ``none``.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.attention.ops.rowwise import self_mask
from attnlab.tensors import QKV, LayerContext, causal_mask


@register("stick-breaking", source="arXiv:2410.17980")
@final
class StickBreaking(Attention):
    """Shares of what nearer keys have left; sums to at most one, to one with the remainder.

    Options:
        itself: Whether a query's own token is among its keys, the nearest.
        remainder: Whether the rest of the stick goes to the query's own value.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def __init__(self, context: LayerContext, *, itself: bool = False, remainder: bool = False) -> None:
        super().__init__(context)
        self.itself, self.remainder = itself, remainder

    def mask(self, qkv: QKV) -> Tensor | None:
        """Keys before the query, unless it may see itself."""
        if self.itself:
            return None
        queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
        return causal_mask(queries.shape[-2], keys.shape[-2], qkv.start - 1, queries.device)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Shares, from the logarithms of what each key leaves."""
        left = functional.logsigmoid(-scores).masked_fill(~mask, 0.0)
        from_here = left.flip(-1).cumsum(-1).flip(-1)
        nearer = functional.pad(from_here[..., 1:], (0, 1))
        shares = (functional.logsigmoid(scores) + nearer).exp().masked_fill(~mask, 0.0)
        if not self.remainder:
            return shares
        own = self_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        return shares + from_here[..., :1].exp() * own
