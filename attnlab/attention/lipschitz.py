"""L2 attention: keys answer by their distance, with one projection for queries and keys.

    s_ij = -|q_i - q_j|^2 / sqrt(C),   q = W_Q x
    v_j  = W_V W_Q^T q_j / sqrt(C)

With queries and keys tied every token hears itself best: s_ii = 0 is the largest score. The untied form would not be
Lipschitz, so it is not offered.

Source   Kim, Papamakarios and Mnih, "The Lipschitz constant of self-attention", arXiv:2006.04710; known from third
         parties.
Theirs   W^{Q,h} W^{Q,h}T / sqrt(D/H) applied to the input before W^{V,h} -> our v_j.
Differs  the mask is causal. Tied values start with W_V of unit variance, our choice, since no start is known to us: two
         maps of variance 1 / D behind one another would make them sqrt(D) times smaller than those of any other
         attention here; one seed learned recall more slowly so (``benchmarks/README.md``).

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
        values: ``tied`` reads them from the queries, as the formula above; ``plain`` is W_V x.
    """

    def __init__(self, context: LayerContext, *, values: Literal["tied", "plain"] = "tied") -> None:
        super().__init__(context)
        del self.key
        self.tied = values == "tied"
        if self.tied:
            self.value = context.linear(context.width, context.width, gain=math.sqrt(context.width))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``3 D^2``: there is no projection for keys."""
        return 3 * width**2

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries that are also the keys."""
        queries_BHTC = self.split(self.query(x_BTD))
        if not self.tied:
            return QKV(queries_BHTC, queries_BHTC, self.split(self.value(x_BTD)))
        asked_HCD, written_HCD = (self.of_head(layer.weight) for layer in (self.query, self.value))
        values_BHSC = queries_BHTC @ (asked_HCD @ written_HCD.mT) / math.sqrt(self.channels)
        return QKV(queries_BHTC, queries_BHTC, values_BHSC)

    def of_head(self, weight: Tensor) -> Tensor:
        """The rows of a projection that belong to each head."""
        return weight.unflatten(0, (self.num_heads, -1))

    def score(self, qkv: QKV) -> Tensor:
        """Negative squared distances."""
        return -squared_distance(qkv.queries_BHTC, qkv.keys_BHSC) / math.sqrt(self.channels)


def squared_distance(queries: Tensor, keys: Tensor) -> Tensor:
    """``|q_i - k_j|^2`` for all pairs, ... x T x S, by one matrix product."""
    apart = queries.square().sum(-1)[..., :, None] + keys.square().sum(-1)[..., None, :]
    return apart - 2 * queries @ keys.mT
