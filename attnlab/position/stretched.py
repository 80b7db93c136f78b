"""Rotary positions for sequences longer than those of training: all angles, or the slow ones, divided by a factor.

    w_m <- w_m / f                                        interpolated
    w_m <- w_m (g_m + (1 - g_m) / f)                      yarn
    cos, sin <- (0.1 ln f + 1) cos, (0.1 ln f + 1) sin    yarn

    g_m = 1 - clamp((m - low) / (high - low), 0, 1)
    low, high = floor d(32), ceil d(1)
    d(r) = C ln(T0 / (2 pi r)) / (2 ln base)

with ``w_m = base^(-2m / C)``. Pairs with more than 32 rotations within the trained length T0 keep their frequency.
The frequency of pairs with less than one rotation is divided by f. A linear ramp connects the two. Both are ``rotary``
exactly where f is 1, and have no parameters: the weights of a model trained with ``rotary`` fit.

Source   Chen et al., "Position interpolation", arXiv:2306.15595; Peng et al., "YaRN", arXiv:2309.00071.
Theirs   s -> our f, ``factor``;  L -> our T0, ``trained``;  beta_fast, beta_slow -> our ``fast``, ``slow``.
Differs  the formula of d(r), low at least 0, high at most C - 1 and 0.001 more where it equals low are from memory of
         their code, not checked against it. The factor is fixed for a run: with one that followed the length of each
         sequence, the outputs of a prefix would depend on the tokens after it.

Letters  B batch, H heads, T tokens, C channels per head, W pairs of channels.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.position.base import Position, register
from attnlab.position.rotary import require_even_channels
from attnlab.position.sinusoidal import angles, token_positions
from attnlab.rotation import paired_channels, rotate_pairs
from attnlab.tensors import LayerContext

Base = Annotated[float, Field(gt=1)]
Factor = Annotated[float, Field(ge=1)]
Tokens = Annotated[int, Field(ge=1)]
Rotations = Annotated[float, Field(gt=0)]


@register("interpolated", source="arXiv:2306.15595")
@final
class Interpolated(Position):
    """Rotary positions with every angle divided by one factor.

    Options:
        factor: f; null is the longest sequence over the trained length, at least 1.
        trained: T0, the longest sequence of training; null is the longest of all, and so f = 1.
        base: As in rotary.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        factor: Factor | None = None,
        trained: Tokens | None = None,
        base: Base = 10_000.0,
    ) -> None:
        super().__init__(context)
        require_even_channels(context)
        self.base, self.factor = base, stretch_factor(context, factor, trained)

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels rotated by its divided angle."""
        angle_TW = angles(token_positions(tensor_BHTC, start), paired_channels(tensor_BHTC), self.base)
        return rotate_pairs(tensor_BHTC, angle_TW / self.factor)


@register("yarn", source="arXiv:2309.00071")
@final
class Yarn(Position):
    """Rotary positions with low frequencies divided by a factor, high ones kept, and all channels scaled up a little.

    Options:
        factor: f; null is the longest sequence over the trained length, at least 1.
        trained: T0, the longest sequence of training; null is the longest of all, and so f = 1.
        base: As in rotary.
        fast: Pairs with more rotations than this within T0 keep their frequency.
        slow: The frequency of pairs with fewer rotations than this is divided by f.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        factor: Factor | None = None,
        trained: Tokens | None = None,
        base: Base = 10_000.0,
        fast: Rotations = 32.0,
        slow: Rotations = 1.0,
    ) -> None:
        super().__init__(context)
        require_even_channels(context)
        self.base, self.trained = base, trained or context.length
        self.factor = stretch_factor(context, factor, trained)
        self.fast, self.slow = fast, slow
        self.gain = 0.1 * math.log(self.factor) + 1

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels rotated by its angle, which is divided where the frequency is low."""
        channels = paired_channels(tensor_BHTC)
        angle_TW = angles(token_positions(tensor_BHTC, start), channels, self.base)
        divided_W = (1 - self.kept_fraction(channels)).to(angle_TW)
        return rotate_pairs(tensor_BHTC, angle_TW * (1 - divided_W * (1 - 1 / self.factor)), self.gain)

    def kept_fraction(self, channels: int) -> Tensor:
        """Compute g, the fraction of each frequency that is not divided.

        Args:
            channels: C.

        Returns:
            1 for pairs that keep their frequency, 0 for those divided by the whole factor, float64, W.
        """

        def dimension(rotations: float) -> float:
            return channels * math.log(self.trained / (2 * math.pi * rotations)) / (2 * math.log(self.base))

        low = max(math.floor(dimension(self.fast)), 0)
        high: float = min(math.ceil(dimension(self.slow)), channels - 1)
        high = high + 0.001 if high == low else high
        return 1 - ((torch.arange(channels // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)


def stretch_factor(context: LayerContext, factor: float | None, trained: int | None) -> float:
    """Compute the factor that divides the angles.

    Args:
        context: The sizes of the model.
        factor: The factor, if it is given.
        trained: The longest sequence of training, in tokens; None for the longest of all.

    Returns:
        The given factor, or the longest sequence over the trained length, at least 1.
    """
    return factor if factor is not None else max(1.0, context.length / (trained or context.length))
