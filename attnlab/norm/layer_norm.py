"""Layer norm, the baseline.

    y = g * (x - mean(x)) / sqrt(var(x) + eps) + b

mean and var are over the D channels of a token; var divides by D.

Source   Ba et al., "Layer normalization", arXiv:1607.06450, section 3.
Theirs   a -> our x, g -> our g, b -> our b.
Differs  in eps, as torch has it.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.norm.base import Norm, register
from attnlab.tensors import LayerContext


@register("layernorm", source="arXiv:1607.06450, section 3", aliases=("layer-norm",))
@final
class LayerNorm(Norm):
    """Mean 0 and variance 1 over the channels, then a learned gain and bias per channel.

    Options:
        eps: Added to the variance.
        bias: Whether a learned bias is added.
    """

    def __init__(self, context: LayerContext, *, eps: Annotated[float, Field(gt=0)] = 1e-5, bias: bool = True) -> None:
        super().__init__(context)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(context.width))
        self.bias = nn.Parameter(torch.zeros(context.width)) if bias else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Each token with mean 0 and variance 1, times the gain, plus the bias."""
        return functional.layer_norm(x_BTD, (self.width,), self.weight, self.bias, self.eps)
