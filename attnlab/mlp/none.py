"""No MLP: a block is its attention alone.

Source   ours: the control without an MLP.
Differs  in nothing from ``mlp_ratio: 0``, but that single layers can be without one: ``gelu+none``.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from attnlab.mlp.base import Mlp, register


@register("none", source="ours")
@final
class NoMlp(Mlp):
    """No MLP; a block with it has no second branch and no norm for one."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Zeros; a block leaves the branch out and does not call it."""
        return torch.zeros_like(x_BTD)
