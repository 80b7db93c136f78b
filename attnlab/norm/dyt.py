"""Dynamic tanh: a squashing function in the place of a norm. No statistic of the token is computed.

    y = g * tanh(a x) + b

a is one learned number, g and b have one per channel.

Source   Zhu et al., "Transformers without normalization", arXiv:2503.10622, section 4.
Theirs   alpha -> our a, gamma -> our g, beta -> our b.
Differs  in nothing; a starts at 1/2 as theirs. For large language models they start it lower.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.norm.base import Norm, register
from attnlab.tensors import LayerContext


@register("dyt", source="arXiv:2503.10622, section 4", aliases=("dynamic-tanh",))
@final
class DynamicTanh(Norm):
    """The hyperbolic tangent of each channel with a learned slope, then a learned gain and bias per channel.

    Options:
        slope: The initial slope a.
    """

    def __init__(
        self, context: LayerContext, *, slope: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    ) -> None:
        super().__init__(context)
        self.slope = nn.Parameter(torch.tensor(slope))
        self.weight = nn.Parameter(torch.ones(context.width))
        self.bias = nn.Parameter(torch.zeros(context.width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The squashed channels, times the gain, plus the bias."""
        return torch.tanh(self.slope * x_BTD) * self.weight + self.bias
