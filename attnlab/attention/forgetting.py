"""Forgetting attention, FoX: every token says how much of what came before it is kept.

    s_ij <- s_ij + c_i - c_j,  c_i = sum_{t <= i} log sigmoid(w_f.x_t + b_f)

so that a key is heard with the product of the gates of all tokens after it.

Source   Lin et al., "Forgetting transformer: softmax attention with a forget gate", arXiv:2503.02130.
Theirs   f_t -> our sigmoid(w_f.x_t + b_f), one gate per head; D_ij -> our c_i - c_j.
Differs  where b_f starts is our choice (``start``); the sums are kept in float32 or more. Their output gate, QK
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
    """Softmax attention in which each token lets the past fade, per head.

    Options:
        start: Where the bias of the gate starts: 0 keeps half of the past at each token, 4 keeps 98 %.
    """

    def __init__(self, context: LayerContext, *, start: float = 4.0) -> None:
        super().__init__(context)
        self.forget = context.linear(context.width, context.heads, bias=True)
        nn.init.constant_(self.forget.bias, start)

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + D H + H``."""
        return 4 * width**2 + width * heads + heads

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """QKV, and how much each token keeps, as a running sum of logarithms, B x H x S."""
        kept_BHS = functional.logsigmoid(at_least_float32(self.forget(x_BTD))).cumsum(-2).mT
        return super().project(x_BTD, layer_inputs)._replace(extra=(kept_BHS,))

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores less what was forgotten between key and query."""
        (kept_BHS,) = qkv.extra
        own_BHT = kept_BHS[..., qkv.start : qkv.start + scores.shape[-2]]
        return super().add_bias(scores, bias, qkv) + own_BHT[..., :, None] - kept_BHS[..., None, :]
