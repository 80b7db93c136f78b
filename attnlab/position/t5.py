"""T5: one learned bias per head and bucket of distances; the widths of the buckets grow exponentially.

    s_ij <- s_ij + w[bucket(i - j), h]
    bucket(d) = d                                           for d < N/2
                N/2 + floor(N/2 ln(2 d / N) / ln(2 R / N))  beyond, N - 1 at most

Source   Raffel et al., arXiv:1910.10683, section 2.1; the buckets as in GPT-NeoX.
Theirs   num_buckets -> our N, ``buckets``;  max_distance -> our R, ``reach``.
Differs  in nothing but the scale. T5 adds w to scores q.k that it never divides. Ours are divided by sqrt(C), with
         weights drawn so that they start around one, and w is added without a factor. GPT-NeoX, whose scores are
         divided too, multiplies w by sqrt(C): ``scaled``. One table serves all layers, as there.

Letters  B batch, H heads, T queries, S keys, N buckets, R reach, d distance.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, distance, register
from attnlab.tensors import QKV, LayerContext


@register("t5", source="arXiv:1910.10683, section 2.1")
@final
class T5(Position):
    """One learned bias per head and bucket of distances, shared by all layers.

    Options:
        buckets: Number of buckets, even; each of the first half contains one distance.
        reach: Distances of at least this share the last bucket.
        scaled: Whether to multiply the biases by sqrt(C), as GPT-NeoX does.
    """

    biases = True
    reads_scores = False
    first_N: Tensor
    """The first distance of each bucket but bucket 0."""

    def __init__(
        self,
        context: LayerContext,
        *,
        buckets: Annotated[int, Field(ge=2, multiple_of=2)] = 32,
        reach: Annotated[int, Field(ge=2)] = 128,
        scaled: bool = False,
    ) -> None:
        super().__init__(context)
        if reach <= buckets // 2:
            hint = f"Use a reach above {buckets // 2}, or fewer buckets."
            raise InvalidValueError(
                f"With {buckets} buckets, the first {buckets // 2} contain one distance each; a reach of {reach} "
                "leaves no distance for the others.",
                hint,
            )
        self.scale = math.sqrt(context.channels) if scaled else 1.0
        self.table_NH = context.normal(buckets, context.heads, std=math.sqrt(2 / (buckets + context.heads)))
        self.register_buffer("first_N", torch.tensor(bucket_starts(buckets, reach)), persistent=False)

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The bias of each distance's bucket, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device).long()
        distances_T = torch.arange(qkv.start + queries, device=scores_BHTS.device)
        bucket_T = (distances_T[:, None] >= self.first_N).sum(-1)
        bias_HT = self.scale * self.table_NH.to(scores_BHTS.dtype)[bucket_T].mT
        return bias_HT[:, distance_TS]


def bucket_starts(buckets: int, reach: int) -> list[int]:
    """Compute the first distance of each bucket but bucket 0.

    The bounds are whole numbers, computed once. A logarithm of every distance could put a distance on a bound into
    either bucket, by rounding.

    Args:
        buckets: N.
        reach: R, in tokens.

    Returns:
        N - 1 increasing distances in tokens.

    >>> bucket_starts(8, 64)
    [1, 2, 3, 4, 8, 16, 32]
    """
    half = buckets // 2
    edges = [half * (reach / half) ** (step / half) for step in range(half)]
    return [*range(1, half), *(math.ceil(edge - 1e-9) for edge in edges)]
