"""PoPE, polar positions: content gives the length of each channel's arrow, the position gives its angle.

    s_ij = sum_c m(q_ic) m(k_jc) cos((j - i) w_c + d_hc) / sqrt(C)
    m(x) = softplus(x),   w_c = base^(-c / C),   d in -2 pi .. 0

A rotary position turns pairs of channels, so that the angle of a score depends on what query and key hold as well as on
their distance. Here it depends on the distance alone, and what they hold only scales it. Each channel has a frequency
of its own, and becomes the two coordinates of its arrow: queries and keys have twice the channels in products.

Source   Gopalakrishnan et al., "Decoupling the 'what' and 'where' with polar coordinate positional embeddings",
         arXiv:2509.10534; the packages PoPE-pytorch and x-transformers.
Theirs   theta_c -> our w_c;  delta_c -> our d, ``shift``;  mu -> our m.
Differs  every layer has its own d, one for each head and channel; the packages have one per head and channel for all
         layers. Products are those of the packages: with twice the channels an attention divides by sqrt(2 C), which
         a factor sqrt(2) of the queries makes up for.

Letters  B batch, L layers, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.position.base import Position, register
from attnlab.position.rotary import Base
from attnlab.position.sinusoidal import token_positions
from attnlab.rotation import Rotation
from attnlab.tensors import LayerContext, at_least_float32


@register("pope", source="arXiv:2509.10534", aliases=("polar",))
@final
class Pope(Position):
    """Scores whose angle is a matter of the distance alone, with one frequency per channel and a learned shift.

    Options:
        base: The longest period is below 2 pi times this, in tokens.
        shift: Whether the learned shifts start at ``zero`` (for longer sequences than those of training) or
            ``uniform`` in -2 pi .. 0.
    """

    polar = True

    def __init__(
        self, context: LayerContext, *, base: Base = 10_000.0, shift: Literal["zero", "uniform"] = "zero"
    ) -> None:
        super().__init__(context)
        self.base = base
        shape = (context.heads, context.channels)
        self.shift_LHC = nn.ParameterList(
            nn.Parameter(torch.zeros(shape))
            if shift == "zero"
            else nn.Parameter(context.uniform(*shape, bound=math.pi).detach() - math.pi)
            for _ in range(context.layers)
        )

    def for_input(self, x_BTD: Tensor, layer: int) -> Rotation:
        """Polar coordinates with the shifts of the layer."""
        return PolarCoordinates(self.base, self.shift_LHC[layer])


@final
class PolarCoordinates(Rotation):
    """Queries and keys of one layer as arrows.

    Args:
        base: The longest period over 2 pi, in tokens.
        shift_HC: d, clamped to -2 pi .. 0.
    """

    def __init__(self, base: float, shift_HC: Tensor) -> None:
        self.base, self.shift_HC = base, shift_HC

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries, B x H x T x 2C: sqrt(2) times the two coordinates of each channel."""
        magnitudes = math.sqrt(2) * functional.softplus(tensor_BHTC)
        return coordinates(magnitudes, self.angles(tensor_BHTC, start))

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Keys, B x H x S x 2C: the two coordinates of each channel, turned by the shifts."""
        shift_H1C = at_least_float32(self.shift_HC).clamp(-2 * math.pi, 0.0)[:, None, : tensor_BHSC.shape[-1]]
        return coordinates(functional.softplus(tensor_BHSC), self.angles(tensor_BHSC) + shift_H1C)

    def angles(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Position times frequency.

        Args:
            tensor_BHTC: Queries or keys.
            start: Position of the first token.

        Returns:
            Angles in radians, T x C.
        """
        position_T, channels = token_positions(tensor_BHTC, start), tensor_BHTC.shape[-1]
        steps_C = torch.arange(channels, dtype=position_T.dtype, device=position_T.device)
        return position_T[:, None] * self.base ** (-steps_C / channels)


def coordinates(magnitude_BHTC: Tensor, angle_HTC: Tensor) -> Tensor:
    """The two coordinates of each channel's arrow.

    Args:
        magnitude_BHTC: Lengths.
        angle_HTC: Angles in radians, broadcastable to the lengths.

    Returns:
        B x H x T x 2C.
    """
    cosine, sine = angle_HTC.cos().to(magnitude_BHTC.dtype), angle_HTC.sin().to(magnitude_BHTC.dtype)
    return torch.cat([magnitude_BHTC * cosine, magnitude_BHTC * sine], dim=-1)
