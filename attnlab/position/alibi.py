"""ALiBi: a penalty that grows with distance.

    s_ij <- s_ij - m_h (i - j)

Source   Press, Smith & Lewis, "Train short, test long", arXiv:2108.12409, section 3.
Theirs   m -> our slope_H.
Differs  in nothing; head counts that are no power of two take every second slope of the next power.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.position.base import Position, distance, register
from attnlab.tensors import QKV, LayerContext


@register("alibi", source="arXiv:2108.12409, section 3")
@final
class Alibi(Position):
    """One fixed slope per head; nothing is learned.

    Options:
        octaves: The last of a power of two of heads has slope 2^-octaves.
    """

    biases = True
    reads_scores = False
    slope_H: Tensor

    def __init__(self, context: LayerContext, *, octaves: Annotated[float, Field(gt=0)] = 8.0) -> None:
        super().__init__(context)
        self.register_buffer("slope_H", torch.tensor(slopes(context.heads, octaves)), persistent=False)

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """Minus slope times distance, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        far_TS = distance(queries, keys, qkv.start, scores_BHTS.device)
        return -self.slope_H.to(scores_BHTS.dtype)[:, None, None] * far_TS


def slopes(heads: int, octaves: float = 8.0) -> list[float]:
    """The slope of each head.

    >>> slopes(4)
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** (heads.bit_length() - 1)
    own = [2.0 ** (-octaves * (head + 1) / power) for head in range(power)]
    return own if power == heads else own + slopes(2 * power, octaves)[::2][: heads - power]
