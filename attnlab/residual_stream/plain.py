"""The plain residual stream, the baseline: updates are added.

    x <- x + f(x)

Source   He et al., "Deep residual learning", arXiv:1512.03385, equation 1.
Differs  in nothing. The field ``residual: false`` of a model leaves the sum out: x <- f(x).
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from attnlab.residual_stream.base import ResidualStream, register


@register("plain", source="arXiv:1512.03385, equation 1")
@final
class PlainStream(ResidualStream):
    """The sum of the stream and the update of each branch."""

    def write(self, x_BTD: Tensor, update_BTD: Tensor, branch: int) -> Tensor:
        """The sum."""
        return x_BTD + update_BTD
