"""Two linear maps with a squared ReLU between them.

    y = W_2 max(0, W_1 x)^2

M = mlp_ratio D hidden channels; 2 M D weights.

Source   So et al., "Primer", arXiv:2109.08668, section 3.2.
Theirs   as ours.
Differs  in nothing; maps have no biases.

Letters  B batch, T tokens, D width, M hidden channels.
"""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.nn import functional

from attnlab.mlp.base import Mlp, apply_map, output_map, register
from attnlab.tensors import LayerContext


@register("squared-relu", source="arXiv:2109.08668, section 3.2", aliases=("relu2",))
@final
class SquaredRelu(Mlp):
    """Two linear maps with the square of a ReLU between them."""

    has_canon = True

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.up_proj = context.linear(context.width, context.hidden)
        self.down_proj = output_map(context, context.hidden)
        self.canon_d = context.canon("D", context.hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The second map of the activated hidden channels."""
        return self.down_proj(functional.relu(self.canon_d(apply_map(x_BTD, self.up_proj))).square())
