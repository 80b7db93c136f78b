"""Stick-breaking attention: the nearest key takes a fraction of a total of one, the next key a fraction of the rest.

    A_ij = b_ij prod_{j < k < i} (1 - b_ik),   b_ij = sigmoid(s_ij),   j < i

The weights depend on the order without any position: of equal keys the nearer one has the larger weight. The
remainder ``prod_{k < i} (1 - b_ik)`` is dropped, or is the weight of the query's own value. The first row has no key
before it: it is zero, or its own value. Products are computed as sums of logarithms over the keys between, without
differences of running sums.

Source   Tan et al., "Stick-breaking attention", arXiv:2410.17980, and its code.
Theirs   beta -> our b.
Differs  in nothing; ``itself`` and ``remainder`` are their options too. It was proposed for models without positions
         (``none``).

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
    """Each key takes a fraction of what nearer keys leave; rows sum to at most one, or to one with the remainder.

    Options:
        itself: Whether a query's own token is its nearest key.
        remainder: Whether the remainder is the weight of the query's own value.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC

    def __init__(self, context: LayerContext, *, itself: bool = False, remainder: bool = False) -> None:
        super().__init__(context)
        self.itself, self.remainder = itself, remainder

    def mask(self, qkv: QKV) -> Tensor | None:
        """True at keys before the query, T x S; None with ``itself``, for the causal mask."""
        if self.itself:
            return None
        queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
        return causal_mask(queries.shape[-2], keys.shape[-2], qkv.start - 1, queries.device)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Weights, from the logarithm of the fraction that each key leaves, B x H x T x S."""
        log_left = functional.logsigmoid(-scores).masked_fill(~mask, 0.0)
        log_left_from = log_left.flip(-1).cumsum(-1).flip(-1)
        log_left_nearer = functional.pad(log_left_from[..., 1:], (0, 1))
        weights = (functional.logsigmoid(scores) + log_left_nearer).exp().masked_fill(~mask, 0.0)
        if not self.remainder:
            return weights
        identity = self_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        return weights + log_left_from[..., :1].exp() * identity
