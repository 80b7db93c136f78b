"""Randomized distances: biases on the scores as functions of distances that are drawn from a longer range.

    D_0 = 0,   D_1 < D_2 < ... < D_{T-1}: T - 1 of 1 .. N - 1, drawn without replacement

    randomized-alibi  s_ij <- s_ij - m_h D_{i-j}
    randomized-xl     Transformer-XL's terms with the sinusoids of D_{i-j}

A model trained on short sequences then has seen every distance of longer ones. The sample is of distances, not of
positions: pairs of tokens with equal distances get equal distances in every sample.

Source   Ruoss et al., "Randomized positional encodings", arXiv:2305.16843, and its code.
Theirs   L -> our N, ``range``.
Differs  one sample is used in all layers, theirs draw anew in each. Their relative one mirrors left and right and is
         not made for causal attention: ours is its left half. See :mod:`attnlab.position.randomized` for the samples.

Letters  B batch, H heads, T queries, S keys, D width, N distances.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.position.alibi import slopes
from attnlab.position.base import Position, distance, register
from attnlab.position.ops.sampling import Sample
from attnlab.position.xl import SinusoidalBias
from attnlab.tensors import QKV, LayerContext

Range = Annotated[int, Field(ge=1)]


@register("randomized-alibi", source="arXiv:2305.16843")
@final
class RandomizedAlibi(Position):
    """ALiBi's penalty on random distances.

    Options:
        range: N; longer sequences are refused.
        octaves: As in alibi.
    """

    biases = True
    reads_scores = False
    random = True
    slope_H: Tensor

    def __init__(
        self, context: LayerContext, *, range: Range = 2048, octaves: Annotated[float, Field(gt=0)] = 8.0
    ) -> None:
        super().__init__(context)
        self.sample = Sample(context, range)
        self.register_buffer("slope_H", torch.tensor(slopes(context.heads, octaves)), persistent=False)

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """Minus slope times the sampled distance, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device).long()
        penalty_HN = self.slope_H[:, None] * sampled_distances(self.sample, keys, self.draw)
        return -penalty_HN.to(scores_BHTS.dtype)[:, distance_TS]


@register("randomized-xl", source="arXiv:2305.16843, arXiv:1901.02860")
@final
class RandomizedXl(SinusoidalBias):
    """Transformer-XL's sinusoids of random distances.

    Options:
        range: N; longer sequences are refused.
        base: As in xl.
    """

    random = True

    def __init__(
        self, context: LayerContext, *, range: Range = 2048, base: Annotated[float, Field(gt=1)] = 10_000.0
    ) -> None:
        super().__init__(context, base)
        self.sample = Sample(context, range)

    def distances(self, tokens: int) -> Tensor:
        """The sampled distances, N."""
        return sampled_distances(self.sample, tokens, self.draw)


def sampled_distances(sample: Sample, tokens: int, draw: int) -> Tensor:
    """Draw the distances of a sequence.

    Args:
        sample: The sampler.
        tokens: T.
        draw: Index of the sample.

    Returns:
        0, then a sorted sample of the other distances, int64, T.

    Raises:
        InvalidValueError: more tokens than distances.
    """
    return functional.pad(sample(tokens - 1, draw, first=1), (1, 0))
