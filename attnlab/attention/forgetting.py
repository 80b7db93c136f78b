"""Forgetting attention, FoX: a gate of every token multiplies the weights of all tokens before it.

    s_ij <- s_ij + c_i - c_j,  c_i = sum_{t <= i} log sigmoid(w_f.x_t + b_f)

so that the exponential of a key's score is multiplied by the gates of all tokens after it, up to the query.

Source   Lin et al., "Forgetting transformer: softmax attention with a forget gate", arXiv:2503.02130.
Theirs   f_t -> our sigmoid(w_f.x_t + b_f), one gate per head; D_ij -> our c_i - c_j.
Differs  the initial b_f is our choice (``start``); the sums are computed in float32 or more. Their output gate, QK
         norm and short convolutions are the modifiers.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, register
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("forgetting", source="arXiv:2503.02130", aliases=("fox",))
@final
class Forgetting(Attention):
    """Softmax attention with a learned forget gate per token and head.

    Options:
        start: Initial bias of the gate: at 0 each token keeps half of the past, at 4 98 %.
    """

    def __init__(self, context: LayerContext, *, start: float = 4.0) -> None:
        super().__init__(context)
        self.forget = context.linear(context.width, context.heads, bias=True)
        nn.init.constant_(self.forget.bias, start)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + D H + H``."""
        return 4 * width**2 + width * heads + heads

    def state_size(self, tokens: int) -> int:
        """A key, a value and a gate per head for each token."""
        return super().state_size(tokens) + tokens * self.num_heads

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and c, the running sum of the logarithms of the gates, B x H x S x 1."""
        log_gates_BHS1 = functional.logsigmoid(at_least_float32(self.forget(x_BTD))).cumsum(-2).mT.unsqueeze(-1)
        return super().project(x_BTD, layer_inputs)._replace(extra=(log_gates_BHS1,))

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores plus the logarithm of the gates between key and query."""
        (log_gates_BHS1,) = qkv.extra
        queries_BHT1 = log_gates_BHS1[..., qkv.start : qkv.start + scores.shape[-2], :]
        return super().add_bias(scores, bias, qkv) + queries_BHT1 - log_gates_BHS1.mT
