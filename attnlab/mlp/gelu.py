"""Two linear maps with a GELU between them, the baseline.

    y = W_2 gelu(W_1 x),   gelu(z) = z Phi(z),  Phi the distribution function of N(0, 1)

M = mlp_ratio D hidden channels; 2 M D weights.

Source   Hendrycks and Gimpel, "Gaussian error linear units", arXiv:1606.08415, equation 1; as the MLP of a
         transformer GPT (Radford et al., 2018).
Theirs   c_fc, c_proj of GPT -> our up_proj, down_proj.
Differs  GPT has biases and the tanh approximation, which is an option here.

Letters  B batch, T tokens, D width, M hidden channels.
"""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor
from torch.nn import functional

from attnlab.mlp.base import Mlp, apply_map, output_map, register
from attnlab.tensors import LayerContext


@register("gelu", source="arXiv:1606.08415, equation 1")
@final
class Gelu(Mlp):
    """Two linear maps with a GELU between them.

    Options:
        approximate: ``none``, or ``tanh`` as in GPT-2.
    """

    has_canon = True

    def __init__(self, context: LayerContext, *, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__(context)
        self.approximate = approximate
        self.up_proj = context.linear(context.width, context.hidden)
        self.down_proj = output_map(context, context.hidden)
        self.canon_d = context.canon("D", context.hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The second map of the activated hidden channels."""
        return self.down_proj(
            functional.gelu(self.canon_d(apply_map(x_BTD, self.up_proj)), approximate=self.approximate)
        )
