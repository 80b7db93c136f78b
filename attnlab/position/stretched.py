"""Rotary positions for sequences longer than those of training: turns slowed by a factor, all of them or the slow ones.

    w_m <- w_m / f                                        interpolated
    w_m <- w_m (g_m + (1 - g_m) / f)                      yarn
    cos, sin <- (0.1 ln f + 1) cos, (0.1 ln f + 1) sin    yarn

    g_m = 1 - clamp((m - low) / (high - low), 0, 1)
    low, high = floor d(32), ceil d(1)
    d(r) = C ln(T0 / (2 pi r)) / (2 ln base)

with ``w_m = base^(-2m / C)``: pairs that turn more than 32 times within the trained length T0 stay, those that turn
less than once are slowed by f, a ramp leads from one to the other. Both are ``rotary`` exactly where f is 1, and
learn nothing: the weights of a model trained with ``rotary`` fit.

Source   Chen et al., "Position interpolation", arXiv:2306.15595; Peng et al., "YaRN", arXiv:2309.00071.
Theirs   s -> our f, ``factor``;  L -> our T0, ``trained``;  beta_fast, beta_slow -> our ``fast``, ``slow``.
Differs  the formula of d(r), low at least 0, high at most C - 1 and 0.001 more where it equals low are as we remember
         their code, not checked against it. The factor is fixed for a run: one that followed the length of each
         sequence would give a prefix another answer than the whole has there.

Letters  B batch, H heads, T tokens, C channels per head, W pairs of channels.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.position.base import Position, register
from attnlab.position.rotary import need_pairs, paired, turn
from attnlab.position.sinusoidal import angles, places
from attnlab.tensors import LayerContext

Base = Annotated[float, Field(gt=1)]
Factor = Annotated[float, Field(ge=1)]
Tokens = Annotated[int, Field(ge=1)]
Turns = Annotated[float, Field(gt=0)]


@register("interpolated", source="arXiv:2306.15595")
@final
class Interpolated(Position):
    """Rotary positions with every turn slowed by one factor.

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
        need_pairs(context)
        self.base, self.factor = base, stretch(context, factor, trained)

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels turned by its slowed angle."""
        return turn(tensor_BHTC, angles(places(tensor_BHTC, start), paired(tensor_BHTC), self.base) / self.factor)


@register("yarn", source="arXiv:2309.00071")
@final
class Yarn(Position):
    """Rotary positions with slow turns slowed further, fast ones kept, and all of them stretched a little.

    Options:
        factor: f; null is the longest sequence over the trained length, at least 1.
        trained: T0, the longest sequence of training; null is the longest of all, and so f = 1.
        base: As in rotary.
        fast: Pairs with more turns than this within T0 are kept.
        slow: Pairs with fewer turns than this are slowed by f.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        factor: Factor | None = None,
        trained: Tokens | None = None,
        base: Base = 10_000.0,
        fast: Turns = 32.0,
        slow: Turns = 1.0,
    ) -> None:
        super().__init__(context)
        need_pairs(context)
        self.base, self.factor, self.trained = base, stretch(context, factor, trained), trained or context.length
        self.fast, self.slow = fast, slow
        self.gain = 0.1 * math.log(self.factor) + 1

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Each pair of channels turned by its angle, slowed where the pair is slow."""
        angle_TW = angles(places(tensor_BHTC, start), paired(tensor_BHTC), self.base)
        slowed_W = (1 - self.kept(paired(tensor_BHTC))).to(angle_TW)
        return turn(tensor_BHTC, angle_TW * (1 - slowed_W * (1 - 1 / self.factor)), self.gain)

    def kept(self, channels: int) -> Tensor:
        """g: 1 for pairs that turn as ever, 0 for those slowed by the whole factor."""

        def dimension(turns: float) -> float:
            return channels * math.log(self.trained / (2 * math.pi * turns)) / (2 * math.log(self.base))

        low = max(math.floor(dimension(self.fast)), 0)
        high: float = min(math.ceil(dimension(self.slow)), channels - 1)
        high = high + 0.001 if high == low else high
        return 1 - ((torch.arange(channels // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)


def stretch(context: LayerContext, factor: float | None, trained: int | None) -> float:
    """The factor that is asked for, or the one that brings the longest sequence back to the trained length."""
    return factor if factor is not None else max(1.0, context.length / (trained or context.length))
