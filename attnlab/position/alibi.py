"""ALiBi: a penalty on the scores that is linear in the distance.

    s_ij <- s_ij - m_h (i - j)

Source   Press, Smith & Lewis, "Train short, test long", arXiv:2108.12409, section 3.
Theirs   m -> our slope_H.
Differs  in nothing; where the number of heads is no power of two, the remaining heads take every second slope of the
         next power.

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
    """A penalty proportional to the distance, with one fixed slope per head; nothing is learned.

    Options:
        octaves: The smallest slope is 2^-octaves where the number of heads is a power of two.
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
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device)
        return -self.slope_H.to(scores_BHTS.dtype)[:, None, None] * distance_TS


def slopes(heads: int, octaves: float = 8.0) -> list[float]:
    """Compute the slope of each head.

    Args:
        heads: H.
        octaves: The smallest slope of a power of two of heads is 2^-octaves; 8 is the paper's.

    Returns:
        The slopes, one per head.

    >>> slopes(4)
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** (heads.bit_length() - 1)
    first = [2.0 ** (-octaves * (head + 1) / power) for head in range(power)]
    return first if power == heads else first + slopes(2 * power, octaves)[::2][: heads - power]
