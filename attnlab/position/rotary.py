"""Rotary positions: queries and keys are rotated by angles proportional to their position.

    q_i <- R(i) q_i,  k_j <- R(j) k_j;  R(t) rotates each pair of channels m by the angle t base^(-2m / C)

The product of a query and a key then depends on their distance alone. With ``xpos`` (xPos) it also decays with it, the
faster the higher the frequency of the channels:

    q_i <- z_m^(i / X) R(i) q_i,  k_j <- z_m^(-j / X) R(j) k_j;  z_m = (2m / C + 0.4) / 1.4

Source   Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2; xPos: Sun et al., "A length-extrapolatable
         transformer", arXiv:2212.10554.
Theirs   theta_i -> our base^(-2m / C); scale base -> our X, 512 tokens in theirs.
Differs  a pair is (m, m + C/2), the halves layout, not (2m, 2m + 1). Of xPos, positions count from 0 and not from the
         middle of the sequence: products are the same.

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
from attnlab.rotation import paired_channels, rotate_pairs
from attnlab.tensors import LayerContext

Base = Annotated[float, Field(gt=1)]


@register("rotary", source="arXiv:2104.09864, section 3.2.2", aliases=("rope",))
@final
class Rotary(Position):
    """Queries and keys rotated by their position, so that scores depend on distances alone.

    Options:
        base: The longest period is below 2 pi times this, in tokens.
        xpos: X, the tokens after which a product has decayed by one factor z; null leaves the decay out.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        base: Base = 10_000.0,
        xpos: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__(context)
        require_even_channels(context)
        self.base, self.xpos = base, xpos

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels rotated by its angle."""
        return self.turn(tensor_BHTC, start, 1)

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Each pair of channels of the keys rotated by its angle; with ``xpos`` grown where queries decay."""
        return self.turn(tensor_BHSC, 0, -1)

    def turn(self, tensor_BHTC: Tensor, start: int, sign: int) -> Tensor:
        """Rotate pairs, and scale them with ``xpos``.

        Args:
            tensor_BHTC: Queries or keys.
            start: Position of the first one.
            sign: 1 for queries, -1 for keys.

        Returns:
            The rotated tensor, B x H x T x C.
        """
        positions_T = token_positions(tensor_BHTC, start)
        channels = paired_channels(tensor_BHTC)
        angle_TW = angles(positions_T, channels, self.base)
        if self.xpos is None:
            return rotate_pairs(tensor_BHTC, angle_TW)
        steps_W = torch.arange(0, channels, 2, dtype=positions_T.dtype, device=positions_T.device)
        log_W = ((steps_W / channels + 0.4) / 1.4).log()
        return rotate_pairs(tensor_BHTC, angle_TW, (sign * positions_T[:, None] / self.xpos * log_W).exp())


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
