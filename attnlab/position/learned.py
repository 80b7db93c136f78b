"""Learned absolute positions: one vector per position, added to the embedding.

    x_t <- x_t + p_t

Source   Vaswani et al., arXiv:1706.03762, section 3.5 (as the learned alternative).
Differs  vectors start at the scale of the embedding, N(0, 1).

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, register
from attnlab.tensors import LayerContext


@register("learned", source="arXiv:1706.03762, section 3.5")
@final
class Learned(Position):
    """One learned vector per position, up to the longest sequence of training."""

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.place_TD = context.normal(context.length, context.width, std=1.0)

    def embed(self, x_BTD: Tensor) -> Tensor:
        """Add the vector of each position.

        Args:
            x_BTD: Token embeddings.

        Returns:
            The residual stream, B x T x D.

        Raises:
            InvalidValueError: the sequence is longer than the table.
        """
        tokens = x_BTD.shape[-2]
        if tokens > self.length:
            hint = "Use a position that extends to longer sequences: none, fourier, rotary or alibi."
            raise InvalidValueError(f"Learned positions end at {self.length} tokens; the sequence has {tokens}.", hint)
        return x_BTD + self.place_TD[:tokens]
