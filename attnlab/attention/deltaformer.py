"""DeltaFormer: softmax attention over values from which each token first erases what earlier tokens hold for its key.

    u_t = v_t - b_t sum_{j < t} softmax_{j < t}(w_t.k_j / sqrt(C)) u_j
    o_i = sum_{j <= i} softmax_{j <= i}(q_i.k_j / sqrt(C)) u_j
    A   = P (I + E)^-1,   b = sigmoid(W_b x + c), per head

with P the weights of softmax attention and E the erasing weights times b, strictly below the diagonal. It is to softmax
attention what the delta rule is to linear attention. w is the key or the query of the token. For b = 0 it is softmax;
rows of A have any sum.

Source   "Understanding Transformer from the Perspective of Associative Memory", arXiv:2505.19488;
         flash-linear-attention's ``ops/deltaformer``.
Theirs   beta -> our b.
Differs  their layer takes b without a sigmoid, so that u can grow without bound. It says that its w is the key; the
         code of version 0.6.0 takes the query, as its plain reference does (``erase``). The bias of a position is added
         to the scores of the reads alone.

Letters  B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from torch import Tensor

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.erased_values import erased_values, erasure
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("deltaformer", source="arXiv:2505.19488")
@final
class DeltaFormer(Attention):
    """Softmax attention with a delta rule on the values.

    Options:
        erase: Whether the ``key`` or the ``query`` of a token finds what it erases.
    """

    row_constraint = RowConstraint.FREE
    sdpa_compatible = True
    plain_products = False  # keys find keys
    hides_keys = False  # a key that no query reads may still be erased from the values of others

    def __init__(self, context: LayerContext, *, erase: Literal["key", "query"] = "key") -> None:
        super().__init__(context)
        self.erase = erase
        self.strength = context.linear(context.width, context.heads, bias=True)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + D H + H``."""
        return 4 * width**2 + width * heads + heads

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and b of each token."""
        strengths_BHS1 = at_least_float32(self.split(self.strength(x_BTD))).sigmoid()
        return super().project(x_BTD, layer_inputs)._replace(extra=(strengths_BHS1,))

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; w of all tokens again, since the queries may be cut to a chunk."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        return qkv._replace(extra=(*qkv.extra, qkv.keys_BHSC if self.erase == "key" else qkv.queries_BHTC))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form ``P (I + E)^-1``, B x H x T x S."""
        erasure_BHSS = erasure(*erasing(qkv))
        reads_BHTS = super().weights(qkv, position)
        return torch.linalg.solve_triangular(erasure_BHSS, reads_BHTS, upper=False, left=False, unitriangular=True)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Softmax attention over u, or the closed form where no fast path may be taken."""
        if not self.fast:
            return super().attend(qkv, position)
        erased_BHSC = erased_values(*erasing(qkv), at_least_float32(qkv.values_BHSC))
        return super().attend(qkv._replace(values_BHSC=erased_BHSC.to(qkv.values_BHSC.dtype)), position)

    def attend_rows(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums for queries all in one chunk: of u on the fast path, of the values on the plain one."""
        if self.fast and self.biased and position.reads_scores:
            reads_BHTS = super().weights(qkv, position)
            return reads_BHTS.to(qkv.values_BHSC.dtype) @ qkv.values_BHSC
        return super().attend_rows(qkv, position)


def erasing(qkv: QKV) -> tuple[Tensor, Tensor, Tensor]:
    """Take what E is made of.

    Args:
        qkv: Queries, keys and values, with b and w of all tokens.

    Returns:
        w, keys and b, float32 or more.
    """
    strengths_BHS1, erasers_BHSC = qkv.extra
    return at_least_float32(erasers_BHSC), at_least_float32(qkv.keys_BHSC), at_least_float32(strengths_BHS1)
