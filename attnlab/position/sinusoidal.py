"""Sinusoidal absolute positions, added to the embedding.

    x_t <- x_t + [sin(t w_m), cos(t w_m)],   w_m = base^(-2m / D),  m = 0 .. D/2 - 1

Source   Vaswani et al., arXiv:1706.03762, section 3.5.
Differs  sines and cosines stand in two halves, not interleaved.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, register
from attnlab.tensors import LayerContext


@register("sinusoidal", source="arXiv:1706.03762, section 3.5")
@final
class Sinusoidal(Position):
    """Fixed waves of growing length, added to the embedding.

    Options:
        base: The longest wave is 2 pi times this.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context)
        if context.width % 2:
            raise InvalidValueError(
                f"Sinusoidal positions need an even width, not {context.width}.", where="model.width"
            )
        self.base = base

    def embed(self, x_BTD: Tensor) -> Tensor:
        """The stream plus the waves at each place."""
        return x_BTD + waves(places(x_BTD), x_BTD.shape[-1], self.base).to(x_BTD.dtype)


def waves(place_T: Tensor, width: int, base: float) -> Tensor:
    """Sines, then cosines, of each place: T x W."""
    angle_TW = angles(place_T, width, base)
    return torch.cat([angle_TW.sin(), angle_TW.cos()], dim=-1)


def angles(place_T: Tensor, width: int, base: float) -> Tensor:
    """``t base^(-2m / W)`` for each place t and m = 0 .. W/2 - 1."""
    wave_W = base ** (-torch.arange(0, width, 2, dtype=place_T.dtype, device=place_T.device) / width)
    return place_T[..., None] * wave_W


def places(like: Tensor, start: int = 0) -> Tensor:
    """The places of the T tokens from ``start``, of a tensor ... x T x W.

    In float32 or more whatever the tensor is in: a half-precision angle is off by a radian within 500 tokens.
    """
    exact = torch.promote_types(like.dtype, torch.float32)
    return torch.arange(start, start + like.shape[-2], dtype=exact, device=like.device)
