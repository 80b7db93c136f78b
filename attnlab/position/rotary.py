"""Rotary positions: queries and keys turn with their place, so that their product feels the distance.

    q_i <- R(i) q_i,  k_j <- R(j) k_j;  R turns each pair of channels m by the angle t base^(-2m / C)

Source   Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2.
Theirs   theta_i -> our base^(-2m / C).
Differs  a pair is (m, m + C/2), the halves layout, not (2m, 2m + 1).

Letters  B batch, H heads, T tokens, C channels per head.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, register
from attnlab.position.sinusoidal import angles, places
from attnlab.tensors import LayerContext


@register("rotary", source="arXiv:2104.09864, section 3.2.2", aliases=("rope",))
@final
class Rotary(Position):
    """Queries and keys turned by their place; only distances remain in the scores.

    Options:
        base: The slowest turn takes 2 pi times this many tokens.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context)
        need_pairs(context)
        self.base = base

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels turned by its angle."""
        return turn(tensor_BHTC, angles(places(tensor_BHTC, start), paired(tensor_BHTC), self.base))


def turn(tensor_BHTC: Tensor, angle_TW: Tensor, gain: float = 1.0) -> Tensor:
    """Each of the W pairs of channels turned by its angle and stretched by the gain; a last odd one stays."""
    cosine_TW, sine_TW = (gain * angle_TW.cos()).to(tensor_BHTC.dtype), (gain * angle_TW.sin()).to(tensor_BHTC.dtype)
    cosine_TC, sine_TC = torch.cat([cosine_TW, cosine_TW], -1), torch.cat([-sine_TW, sine_TW], -1)
    pairs = angle_TW.shape[-1]
    whole, odd = tensor_BHTC[..., : 2 * pairs], tensor_BHTC[..., 2 * pairs :]
    # Rolled by half, partners change places; on the way back they are rolled again, and nothing is filled with zeros.
    turned = torch.addcmul(whole * cosine_TC, whole.roll(pairs, -1), sine_TC)
    return torch.cat([turned, odd], dim=-1) if odd.shape[-1] else turned


def paired(tensor_BHTC: Tensor) -> int:
    """Channels that have a partner. Some attentions make queries of another, even odd, width than C."""
    return tensor_BHTC.shape[-1] // 2 * 2


def need_pairs(context: LayerContext) -> None:
    """Refuse an odd number of channels per head.

    Raises:
        InvalidValueError: with the widths that would do.
    """
    if context.channels % 2:
        hint = f"With {context.heads} heads, use a width that is a multiple of {2 * context.heads}."
        raise InvalidValueError(
            f"Rotary positions need an even number of channels per head, not {context.channels}.", hint
        )
