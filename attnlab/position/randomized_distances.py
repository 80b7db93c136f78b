"""Randomized distances: positions that add to the scores, with distances drawn from a longer range.

    D_0 = 0,   D_1 < D_2 < ... < D_{T-1}: T - 1 of 1 .. N - 1, drawn without replacement

    randomized-alibi  s_ij <- s_ij - m_h D_{i-j}
    randomized-xl     Transformer-XL's terms with the waves of D_{i-j}

so that a model trained on short sequences has met every distance of longer ones. What is drawn are distances, not
places: tokens that stand equally far apart are told so, whatever the sample.

Source   Ruoss et al., "Randomized positional encodings", arXiv:2305.16843, and its code.
Theirs   L -> our N, ``range``.
Differs  one sample serves all layers, theirs draw anew in each. Their relative one mirrors left and right and is not
         made for causal attention: ours is its left half. See :mod:`attnlab.position.randomized` for what a sample is.

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
from attnlab.position.xl import Relative
from attnlab.tensors import QKV, LayerContext

Range = Annotated[int, Field(ge=1)]


@register("randomized-alibi", source="arXiv:2305.16843")
@final
class RandomizedAlibi(Position):
    """ALiBi's penalty, of random distances.

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
        """Minus slope times the drawn distance, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        far_TS = distance(queries, keys, qkv.start, scores_BHTS.device).long()
        penalty_HN = self.slope_H[:, None] * apart(self.sample, keys, self.draw)
        return -penalty_HN.to(scores_BHTS.dtype)[:, far_TS]


@register("randomized-xl", source="arXiv:2305.16843, arXiv:1901.02860")
@final
class RandomizedXl(Relative):
    """Transformer-XL's waves, of random distances.

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

    def apart(self, tokens: int) -> Tensor:
        """Drawn distances."""
        return apart(self.sample, tokens, self.draw)


def apart(sample: Sample, tokens: int, draw: int) -> Tensor:
    """The distances of so many tokens: 0, then a sample of the others."""
    return functional.pad(sample(tokens - 1, draw, first=1), (1, 0))
