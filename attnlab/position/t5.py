"""T5: one learned number per head for each bucket of distances; buckets widen as a logarithm.

    s_ij <- s_ij + w[bucket(i - j), h]
    bucket(d) = d                                           for d < N/2
                N/2 + floor(N/2 ln(2 d / N) / ln(2 R / N))  beyond, N - 1 at most

Source   Raffel et al., arXiv:1910.10683, section 2.1; the buckets as in GPT-NeoX.
Theirs   num_buckets -> our N, ``buckets``;  max_distance -> our R, ``reach``.
Differs  in nothing but the scale. T5 adds w to scores q.k that it never divides. Ours are divided by sqrt(C), with
         weights drawn so that they start around one, and w is added as it is. GPT-NeoX, whose scores are divided too,
         multiplies w by sqrt(C): ``scaled``. One table serves all layers, as there.

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
    """One learned number per head and bucket of distances, shared by all layers.

    Options:
        buckets: How many; the first half hold one distance each. An even number.
        reach: Distances from here on share the last bucket.
        scaled: Whether to multiply the numbers by sqrt(C), as GPT-NeoX does.
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
                f"A reach of {reach} leaves nothing to {buckets} buckets, half of them exact.", hint
            )
        self.scale = math.sqrt(context.channels) if scaled else 1.0
        self.table_NH = context.normal(buckets, context.heads, std=math.sqrt(2 / (buckets + context.heads)))
        self.register_buffer("first_N", torch.tensor(firsts(buckets, reach)), persistent=False)

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The number of each distance's bucket, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        far_TS = distance(queries, keys, qkv.start, scores_BHTS.device).long()
        each_T = torch.arange(qkv.start + queries, device=scores_BHTS.device)
        bucket_T = (each_T[:, None] >= self.first_N).sum(-1)
        number_HT = self.scale * self.table_NH.to(scores_BHTS.dtype)[bucket_T].mT
        return number_HT[:, far_TS]


def firsts(buckets: int, reach: int) -> list[int]:
    """The first distance of each bucket but bucket 0.

    Whole numbers, found once: a logarithm taken of every distance would put those on an edge now here, now there.

    >>> firsts(8, 64)
    [1, 2, 3, 4, 8, 16, 32]
    """
    half = buckets // 2
    edges = [half * (reach / half) ** (step / half) for step in range(half)]
    return [*range(1, half), *(math.ceil(edge - 1e-9) for edge in edges)]
