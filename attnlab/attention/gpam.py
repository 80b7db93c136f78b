"""GPAM, generalized probabilistic attention, by the dual-attention mechanism daGPAM.

    A = (1 + l+) softmax(Q+ K / sqrt(C)) - l- softmax(Q- K / sqrt(C))
    Q- = ReLU(Q+) W-

Weights may be negative; every row sums to ``1 + l+ - l-``, and every entry lies in ``[-l-, 1 + l+]``. Both branches
share keys and values, and the position applies to both.

Source   Heo and Choi, "Generalized Probabilistic Attention Mechanism in Transformers", arXiv:2410.15578. The class
         (signed scores, a fixed row sum) is the abstract's; the dual form is known from reviews and third-party code.
         No public code of the authors was found (November 2026).
Theirs   lambda+, lambda- -> our l+, l-;  W_Q- -> our W-.
Differs  W- is C x C for each head (the size that best fits the reported overhead). The values of the fixed lambdas and
         the start of the trainable ones are not known: 0.5 is our choice. The re-projection comes before rotation.

Letters  B batch, 2 the branches (positive, negative), H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.attention.base import Attention, RowConstraint, register
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, masked_softmax

Lambda = Annotated[float, Field(ge=0)]


@register("gpam", source="arXiv:2410.15578", aliases=("dagpam",))
@final
class Gpam(Attention):
    """The weighted difference of two softmaxes over the same keys.

    Options:
        lambdas: ``tied`` l+ = l-, one fixed value; ``untied`` two fixed values; ``trainable`` one learned value per
            head, l+ = l-; ``trainable-untied`` two learned values per head.
        plus: l+, or its initial value; also l- where the two are tied.
        minus: l-, or its initial value, where the two are not tied.
        layers: Linear maps on the path of the negative query: 1, or 2 with the ReLU between them.
    """

    row_constraint = RowConstraint.SIGNED

    def __init__(
        self,
        context: LayerContext,
        *,
        lambdas: Literal["tied", "untied", "trainable", "trainable-untied"] = "trainable",
        plus: Lambda = 0.5,
        minus: Lambda | None = None,
        layers: Literal[1, 2] = 1,
    ) -> None:
        super().__init__(context)
        tied = lambdas in ("tied", "trainable")
        if tied and minus is not None:
            raise InvalidValueError(
                f"'minus' has no meaning where lambdas are {lambdas}.",
                "Leave 'minus' out, or use lambdas=untied or lambdas=trainable-untied.",
            )
        learned = lambdas.startswith("trainable")
        self.plus_H = nn.Parameter(torch.full((context.heads,), plus), requires_grad=learned)
        self.minus_H = self.plus_H if tied else nn.Parameter(self.plus_H.detach().clone(), requires_grad=learned)
        if minus is not None:
            nn.init.constant_(self.minus_H, minus)
        channels = context.channels
        std = 1 / math.sqrt(channels)
        self.negative = nn.ParameterList(
            context.normal(context.heads, channels, channels, std=std) for _ in range(layers)
        )

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + n D C`` for n layers on the negative path, and the trainable lambdas."""
        lambdas = {"trainable": heads, "trainable-untied": 2 * heads}.get(options["lambdas"], 0)
        return 4 * width**2 + options["layers"] * width * width // heads + lambdas

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values, with positive and negative queries on an axis before the heads."""
        qkv = super().project(x_BTD, layer_inputs)
        first, last = (self.negative[0], self.negative[1]) if len(self.negative) > 1 else (None, self.negative[0])
        positive = qkv.queries_BHTC
        negative = (positive if first is None else positive @ first).relu() @ last
        queries_B2HTC = torch.stack([positive, negative], dim=-4)
        return qkv._replace(queries_BHTC=queries_B2HTC, keys_BHSC=qkv.keys_BHSC.unsqueeze(-4))

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The weighted difference of the two softmaxes."""
        positive, negative = masked_softmax(scores, mask).unbind(-4)
        plus_H11, minus_H11 = self.plus_H[:, None, None], self.minus_H[:, None, None]
        return (1 + plus_H11) * positive - minus_H11 * negative
