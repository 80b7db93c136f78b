"""Sinusoidal absolute positions, added to the embedding.

    x_t <- x_t + [sin(t w_m), cos(t w_m)],   w_m = base^(-2m / D),  m = 0 .. D/2 - 1

Source   Vaswani et al., arXiv:1706.03762, section 3.5.
Differs  sines and cosines stand in two halves, not interleaved; an odd width has one cosine less.

Letters  B batch, T tokens, D width, W channels of a table.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.position.base import Position, register
from attnlab.tensors import LayerContext


@register("sinusoidal", source="arXiv:1706.03762, section 3.5")
@final
class Sinusoidal(Position):
    """Fixed sines and cosines of the position, added to the embedding.

    Options:
        base: The longest wavelength is below 2 pi times this, in tokens.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context)
        self.base = base

    def embed(self, x_BTD: Tensor) -> Tensor:
        """The token embeddings plus the sinusoids of each position."""
        return x_BTD + sinusoids(token_positions(x_BTD), x_BTD.shape[-1], self.base).to(x_BTD.dtype)


def sinusoids(position_T: Tensor, width: int, base: float) -> Tensor:
    """Compute the sines, then the cosines, of each position.

    Args:
        position_T: Positions in tokens, or distances.
        width: W.
        base: The longest wavelength is below 2 pi times this.

    Returns:
        The table, T x W.
    """
    angle_TW = angles(position_T, width, base)
    return torch.cat([angle_TW.sin(), angle_TW[..., : width // 2].cos()], dim=-1)


def angles(position_T: Tensor, width: int, base: float) -> Tensor:
    """Compute ``t base^(-2m / W)`` for each position t and all m from 0 with 2m < W.

    Args:
        position_T: Positions in tokens, or distances.
        width: W.
        base: The longest wavelength is below 2 pi times this.

    Returns:
        Angles in radians, T x ceil(W / 2).
    """
    frequency_W = base ** (-torch.arange(0, width, 2, dtype=position_T.dtype, device=position_T.device) / width)
    return position_T[..., None] * frequency_W


def token_positions(like: Tensor, start: int = 0) -> Tensor:
    """Number the tokens of a tensor.

    The result is at least float32, whatever the tensor is. A half-precision angle is off by a radian within 500 tokens.

    Args:
        like: ... x T x W; it gives T, the device and the least dtype.
        start: Position of the first token.

    Returns:
        Positions ``start`` .. ``start + T - 1``, T.
    """
    exact = torch.promote_types(like.dtype, torch.float32)
    return torch.arange(start, start + like.shape[-2], dtype=exact, device=like.device)
