"""Rotary positions: queries and keys are rotated by angles proportional to their position.

    q_i <- R(i) q_i,  k_j <- R(j) k_j;  R(t) rotates each pair of channels m by the angle t base^(-2m / C)

The product of a query and a key then depends on their distance alone.

Source   Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2.
Theirs   theta_i -> our base^(-2m / C).
Differs  a pair is (m, m + C/2), the halves layout, not (2m, 2m + 1).

Letters  B batch, H heads, T tokens, C channels per head, W pairs of channels.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, register
from attnlab.position.sinusoidal import angles, token_positions
from attnlab.tensors import LayerContext


@register("rotary", source="arXiv:2104.09864, section 3.2.2", aliases=("rope",))
@final
class Rotary(Position):
    """Queries and keys rotated by their position, so that scores depend on distances alone.

    Options:
        base: The longest period is below 2 pi times this, in tokens.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context)
        require_even_channels(context)
        self.base = base

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels rotated by its angle."""
        positions_T = token_positions(tensor_BHTC, start)
        return rotate_pairs(tensor_BHTC, angles(positions_T, paired_channels(tensor_BHTC), self.base))


def rotate_pairs(tensor_BHTC: Tensor, angle_TW: Tensor, gain: float = 1.0) -> Tensor:
    """Rotate each pair of channels by its angle and scale it; further channels stay as they are.

    Args:
        tensor_BHTC: Queries or keys.
        angle_TW: Angles in radians.
        gain: Factor on the rotated channels.

    Returns:
        The rotated tensor, B x H x T x C.
    """
    cosine_TW, sine_TW = (gain * angle_TW.cos()).to(tensor_BHTC.dtype), (gain * angle_TW.sin()).to(tensor_BHTC.dtype)
    cosine_TC, sine_TC = torch.cat([cosine_TW, cosine_TW], -1), torch.cat([-sine_TW, sine_TW], -1)
    pairs = angle_TW.shape[-1]
    paired, rest = tensor_BHTC[..., : 2 * pairs], tensor_BHTC[..., 2 * pairs :]
    # A roll by half the channels swaps the two of each pair. Its backward is a roll too, with no tensor of zeros.
    rotated = torch.addcmul(paired * cosine_TC, paired.roll(pairs, -1), sine_TC)
    return torch.cat([rotated, rest], dim=-1) if rest.shape[-1] else rotated


def paired_channels(tensor_BHTC: Tensor) -> int:
    """Count the channels that form pairs; the queries of some attentions have an odd number of channels.

    Args:
        tensor_BHTC: Queries or keys.

    Returns:
        The largest even number up to C.
    """
    return tensor_BHTC.shape[-1] // 2 * 2


def require_even_channels(context: LayerContext) -> None:
    """Check that the number of channels per head is even.

    Args:
        context: The sizes of the model.

    Raises:
        InvalidValueError: an odd number of channels; the message names the widths that fit.
    """
    if context.channels % 2:
        hint = f"With {context.heads} heads, use a width that is a multiple of {2 * context.heads}."
        raise InvalidValueError(
            f"Rotary positions need an even number of channels per head, not {context.channels}.", hint
        )
