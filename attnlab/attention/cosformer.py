"""cosFormer: linear attention with ReLU features, weighted by a cosine of the distance.

    A_ij = a_ij / sum_{s <= i} a_is
    a_ij = r(q_i).r(k_j) cos(pi (i - j) / 2M)

``r`` is the ReLU. The cosine of a difference splits into two products, so the features are ``(r(x) sin, r(x) cos)``
at the token's own position. M is a constant: if it were the current length, every weight would change with each new
token. A key at distance M has weight zero.

Source   Qin et al., "cosFormer", arXiv:2202.08791.
Theirs   M = max(source, target length) -> our constant ``reach``.
Differs  M does not follow the current sequence. A row with a sum below 1e-20 (queries and keys with no channel in
         common) is zero, and so is its gradient; theirs divides by at least 1e-6. Their ``elu`` option is left out.

Letters  B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import RowConstraint, register
from attnlab.attention.ops.scan import Recurrence, Recurrent, no_decay
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext


@register("cosformer", source="arXiv:2202.08791")
@final
class Cosformer(Recurrent):
    """ReLU features and a cosine that fades with distance; rows sum to one, or are zero.

    Options:
        reach: M, the distance at which a key has weight zero; null is the longest sequence of the run.
    """

    row_constraint = RowConstraint.SUBSTOCHASTIC
    normalized: ClassVar[bool] = True

    def __init__(self, context: LayerContext, *, reach: Annotated[int, Field(ge=1)] | None = None) -> None:
        super().__init__(context)
        if reach is not None and reach < context.length:
            hint = f"Use at least {context.length}: beyond 'reach' the cosine turns negative."
            raise InvalidValueError(
                f"A reach of {reach} is shorter than the longest sequence, {context.length} tokens.", hint
            )
        self.reach = reach or context.length

    @property
    def num_features(self) -> int:
        """Two for each channel."""
        return 2 * super().num_features

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Features that depend on the position, without decay."""
        queries, keys = self.features(qkv.queries_BHTC, qkv.start), self.features(qkv.keys_BHSC, 0)
        return Recurrence(queries, keys, no_decay(keys))

    def features(self, x_BHTC: Tensor, start: int) -> Tensor:
        """``(r(x) sin, r(x) cos)`` of the angle at each position.

        Args:
            x_BHTC: Queries or keys.
            start: Position of the first token.

        Returns:
            Features, B x H x T x 2C.
        """
        positions_T = torch.arange(start, start + x_BHTC.shape[-2], dtype=x_BHTC.dtype, device=x_BHTC.device)
        angle_T1 = (math.pi / 2 / self.reach * positions_T)[:, None]
        features = x_BHTC.relu()
        return torch.cat([features * angle_T1.sin(), features * angle_T1.cos()], dim=-1)
