"""No norm: the vectors stay as they are.

Source   ours: the control without a norm.
Differs  in nothing from the field ``norm`` of a model set to none.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from attnlab.norm.base import Norm, register


@register("none", source="ours")
@final
class NoNorm(Norm):
    """No norm; the input is returned unchanged."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The input itself."""
        return x_BTD
