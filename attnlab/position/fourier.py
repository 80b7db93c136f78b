"""Fourier positions: sinusoids up to the highest frequency that whole positions can tell apart, added to the embedding.

    x_t <- x_t + sqrt(2) [sin(t w_m), cos(t w_m)]
    w_m = pi base^(-2m / D),   m = 0 .. D/2 - 1

Sinusoidal positions begin at one radian per token. These begin at half a turn, the Nyquist frequency of a step of one
token, so that one pair changes sign from each token to the next. The factor gives the sinusoids a mean square of one,
which is that of the embedding.

Source   ours; the sinusoids are those of Vaswani et al., arXiv:1706.03762, section 3.5. Measured in
         benchmarks/README.md, "Recipes".
Differs  sines and cosines stand in two halves; an odd width has one cosine less.

Letters  B batch, T tokens, D width, W channels of a table.
"""

from __future__ import annotations

import math
from typing import Annotated, final

from pydantic import Field
from torch import Tensor

from attnlab.position.base import Position, register
from attnlab.position.sinusoidal import sinusoids, token_positions
from attnlab.tensors import LayerContext


@register("fourier", source="ours")
@final
class Fourier(Position):
    """Fixed sines and cosines from half a turn per token down, with a mean square of one, added to the embedding.

    Options:
        base: The longest wavelength is below twice this, in tokens.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context)
        self.base = base

    def embed(self, x_BTD: Tensor) -> Tensor:
        """The token embeddings plus the sinusoids of each position."""
        return x_BTD + fourier_features(token_positions(x_BTD), x_BTD.shape[-1], self.base).to(x_BTD.dtype)


def fourier_features(position_T: Tensor, width: int, base: float) -> Tensor:
    """Compute the sines, then the cosines, of each position.

    Args:
        position_T: Positions in tokens.
        width: W.
        base: The longest wavelength is below twice this, in tokens.

    Returns:
        The table, T x W.
    """
    return math.sqrt(2) * sinusoids(math.pi * position_T, width, base)
