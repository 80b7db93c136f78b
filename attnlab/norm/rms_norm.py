"""Root mean square norm: layer norm without the mean and without the bias.

    y = g * x / sqrt(mean(x^2) + eps)

Source   Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467, equation 4.
Theirs   a -> our x, g -> our g.
Differs  in eps, which their equation does not have.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.norm.base import Norm, register
from attnlab.tensors import LayerContext, at_least_float32


@register("rmsnorm", source="arXiv:1910.07467, equation 4", aliases=("rms-norm",))
@final
class RmsNorm(Norm):
    """Root mean square 1 over the channels, then a learned gain per channel.

    Options:
        eps: Added to the mean square.
    """

    def __init__(self, context: LayerContext, *, eps: Annotated[float, Field(gt=0)] = 1e-6) -> None:
        super().__init__(context)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(context.width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Each token with root mean square 1, times the gain; squares are summed in float32 or more."""
        exact_BTD = at_least_float32(x_BTD)
        inverse_BT1 = torch.rsqrt(exact_BTD.square().mean(-1, keepdim=True) + self.eps)
        return (exact_BTD * inverse_BT1).to(x_BTD.dtype) * self.weight
