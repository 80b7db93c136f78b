"""Wall attention: every channel of a key forgets at a rate of its own before the key meets the query.

    s_ij = sum_c q_ic k_jc exp(g_(j+1),c + ... + g_ic) / sqrt(C),   g = log sigmoid(W x + b)

then the softmax. The gate multiplies the products of query and key, so that a closed gate takes their score to 0; the
gate of `forgetting` is added to the score and takes the weight of the key to 0. Open gates give softmax.

Source   "Wall attention", Tilde Research (2026); flash-linear-attention's ``ops/wall_attn``.
Theirs   P_i - P_j, a difference of running sums, -> our sum from j + 1 to i.
Differs  the sums are taken over the tokens they span, so that no exponential overflows and no digit is lost. Their
         scalar gate, window and sink are `forgetting`, `window` and `sink`.

Letters  B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.ops.channel_decay import decayed_scores
from attnlab.attention.ops.looped import looped, suits
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("wall", source="Tilde Research, Wall attention (2026)")
@final
class Wall(Attention):
    """Softmax attention whose scores decay channel by channel.

    Options:
        start: Initial bias of the gates: at 8 a channel keeps 97 % over 100 tokens, at 0 half at each token.
    """

    plain_products = False  # channels of queries and keys decay

    def __init__(self, context: LayerContext, *, start: float = 8.0) -> None:
        super().__init__(context)
        self.forget = context.linear(context.width, context.width, bias=True)
        nn.init.constant_(self.forget.bias, start)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``5 D^2 + D``."""
        return 5 * width**2 + width

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and g of every channel."""
        decays_BHSC = functional.logsigmoid(at_least_float32(self.split(self.forget(x_BTD))))
        return super().project(x_BTD, layer_inputs)._replace(extra=(decays_BHSC,))

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; over all queries and without a bias by compiled loops, where they are usable."""
        tensors = qkv.queries_BHTC, qkv.keys_BHSC, *qkv.extra, qkv.values_BHSC
        if not self.fast or self.biased or not suits(*tensors):
            return super().attend(qkv, position)
        from attnlab.attention.ops.wall_loops import WallLoops

        return looped(WallLoops(), *tensors)

    def score(self, qkv: QKV) -> Tensor:
        """Scores through the gates, B x H x T x S; zero for keys after their query."""
        queries_BHTC = qkv.queries_BHTC / math.sqrt(qkv.queries_BHTC.shape[-1])
        return decayed_scores(queries_BHTC, qkv.keys_BHSC, at_least_float32(qkv.extra[0]), qkv.start)
