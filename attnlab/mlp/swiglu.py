"""A gated linear unit: one map of the token gates another, channel by channel.

    y = W_2 (silu(W_g x) * W_1 x),   silu(z) = z sigmoid(z)

M = 2/3 mlp_ratio D hidden channels, rounded. Three maps then have 3 M D weights, as many as the two maps of ``gelu``
but for the rounding, which changes their number by at most D.

Source   Shazeer, "GLU variants improve transformer", arXiv:2002.05202, equation 6 and section 3.
Theirs   W -> our W_g (gate_proj), V -> our W_1 (up_proj), W_2 -> our W_2 (down_proj).
Differs  in nothing; maps have no biases, as theirs. ``activation`` gives the paper's other units: GEGLU (gelu), ReGLU
         (relu), GLU (sigmoid) and the bilinear one (identity).

Letters  B batch, T tokens, D width, M hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.mlp.base import Mlp, apply_map, output_map, register
from attnlab.tensors import Canon, LayerContext, Role

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "identity": nn.Identity(),
}


@register("swiglu", source="arXiv:2002.05202, equation 6", aliases=("glu",))
@final
class SwiGlu(Mlp):
    """A linear map times an activated gate, then an output map; as many weights as ``gelu``.

    Options:
        activation: Of the gate: ``silu`` (SwiGLU), ``gelu``, ``relu``, ``sigmoid`` or ``identity``.
    """

    parameter_roles: ClassVar[Mapping[str, Role]] = {**Mlp.parameter_roles, "gate_proj": "mlp_up"}

    has_canon = True

    def __init__(
        self,
        context: LayerContext,
        *,
        activation: Literal["silu", "gelu", "relu", "sigmoid", "identity"] = "silu",
    ) -> None:
        super().__init__(context)
        hidden = max(1, round(2 * context.hidden / 3))
        self.activation = activation
        self.up_proj = context.linear(context.width, hidden)
        self.gate_proj = context.linear(context.width, hidden)
        self.down_proj = output_map(context, hidden)
        self.canon_d = context.canon("D", 2 * hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The output map of the gated hidden channels."""
        gate_BTM, up_BTM = (apply_map(x_BTD, map) for map in (self.gate_proj, self.up_proj))
        if isinstance(self.canon_d, Canon):
            gate_BTM, up_BTM = self.canon_d(torch.cat([gate_BTM, up_BTM], dim=-1)).chunk(2, dim=-1)
        return self.down_proj(ACTIVATIONS[self.activation](gate_BTM) * up_BTM)
