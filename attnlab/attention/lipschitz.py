"""L2 attention: scores are negative squared distances, with one projection for queries and keys.

    s_ij = -|q_i - q_j|^2 / sqrt(C),   q = W_Q x
    v_j  = W_V W_Q^T q_j / sqrt(C)

With queries and keys tied, s_ii = 0 is the largest score of each row. The untied form is not Lipschitz, so it is not
offered.

Source   Kim, Papamakarios and Mnih, "The Lipschitz constant of self-attention", arXiv:2006.04710; as described by
         third parties.
Theirs   W^{Q,h} W^{Q,h}T / sqrt(D/H) applied to the input before W^{V,h} -> our v_j.
Differs  the mask is causal. Tied values start with W_V of unit variance: our choice, since their initialization is not
         known to us. Two successive maps of variance 1 / D would make the values sqrt(D) times smaller than those of
         any other attention here; one seed learned recall more slowly with them (``benchmarks/README.md``).

Letters  B batch, H heads, T queries, S keys, D width, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any, Literal, final

from torch import Tensor

from attnlab.attention.base import Attention, register
from attnlab.tensors import QKV, LayerContext, LayerInputs


@register("lipschitz", source="arXiv:2006.04710", aliases=("l2",))
@final
class Lipschitz(Attention):
    """Softmax over negative squared distances of tied queries and keys.

    Options:
        values: ``tied`` computes them from the queries, by the formula above; ``plain`` is W_V x.
    """

    own_projections = True

    plain_products = False  # it reads distances

    def __init__(self, context: LayerContext, *, values: Literal["tied", "plain"] = "tied") -> None:
        super().__init__(context)
        del self.key
        self.tied = values == "tied"
        if self.tied:
            self.value = context.linear(context.width, context.width, gain=math.sqrt(context.width))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``3 D^2``: there is no projection for keys."""
        return 3 * width**2

    def state_size(self, tokens: int) -> int:
        """A query per token, which is its key; the value follows from it where it is tied."""
        return tokens * (self.query.out_features + (0 if self.tied else self.value.out_features))

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries that are also the keys, and values."""
        queries_BHTC = self.split(self.query(x_BTD))
        if not self.tied:
            return QKV(queries_BHTC, queries_BHTC, self.split(self.value(x_BTD)))
        query_HCD, value_HCD = (self.weights_by_head(layer.weight) for layer in (self.query, self.value))
        values_BHSC = queries_BHTC @ (query_HCD @ value_HCD.mT) / math.sqrt(self.channels)
        return QKV(queries_BHTC, queries_BHTC, values_BHSC)

    def weights_by_head(self, weight: Tensor) -> Tensor:
        """Split the weights of a projection into heads.

        Args:
            weight: (H C) x D.

        Returns:
            H x C x D.
        """
        return weight.unflatten(0, (self.num_heads, -1))

    def score(self, qkv: QKV) -> Tensor:
        """Negative squared distances over sqrt(C), B x H x T x S."""
        return -squared_distance(qkv.queries_BHTC, qkv.keys_BHSC) / math.sqrt(self.channels)


def squared_distance(queries: Tensor, keys: Tensor) -> Tensor:
    """Compute ``|q_i - k_j|^2`` of all pairs by one matrix product.

    Args:
        queries: ... x T x C.
        keys: ... x S x C.

    Returns:
        Squared distances, ... x T x S.
    """
    square_sums = queries.square().sum(-1)[..., :, None] + keys.square().sum(-1)[..., None, :]
    return square_sums - 2 * queries @ keys.mT
