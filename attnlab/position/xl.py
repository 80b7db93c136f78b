"""Transformer-XL: products of the query with sinusoids of the distance, and two learned queries for all tokens.

    s_ij = ((q_i + u).k_j + (q_i + v).W_r r_{i-j}) / sqrt(C)

    s_ij <- s_ij + (u.k_j + (q_i + v).W_r r_{i-j}) / sqrt(C)    the same, as a bias

with ``r_d`` the sines and cosines of the distance d.

Source   Dai et al., "Transformer-XL", arXiv:1901.02860, section 3.3.
Theirs   W_{k,R} -> our W_r;  R -> our r.
Differs  every layer has its own u, v and W_r: ours. u and v start at N(0, 0.02^2), W_r as every projection. The bias
         is added to the scores of any attention, divided by the same sqrt(C). Where the queries of an attention are
         narrower or wider than C, the sums run over the channels that both have: ours.

Letters  B batch, L layers, H heads, T queries, S keys, C channels per head, D width, N distances.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, common_channels, distance, register
from attnlab.position.sinusoidal import sinusoids
from attnlab.tensors import QKV, LayerContext


class SinusoidalBias(Position):
    """A bias of sinusoids of distances; subclasses may override ``distances``.

    Args:
        context: The sizes of the model.
        base: The longest wavelength is below 2 pi times this.

    Raises:
        InvalidValueError: an odd width.
    """

    biases = True
    reads_scores = False

    def __init__(self, context: LayerContext, base: float) -> None:
        super().__init__(context)
        if context.width % 2:
            raise InvalidValueError(
                f"The sinusoids of 'xl' need an even width, not {context.width}.", where="model.width"
            )
        self.base, self.heads, self.width = base, context.heads, context.width
        # u and v are biases of the query: vectors for each layer, without weight decay.
        self.content_LD = nn.ParameterList(context.normal(context.width, std=0.02) for _ in range(context.layers))
        self.place_LD = nn.ParameterList(context.normal(context.width, std=0.02) for _ in range(context.layers))
        self.wave_LDD = nn.ParameterList(
            context.normal(context.width, context.width, std=1 / math.sqrt(context.width))
            for _ in range(context.layers)
        )

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The published score without its term ``q.k / sqrt(C)``, ... x H x T x S."""
        (queries, keys), channels = scores_BHTS.shape[-2:], qkv.queries_BHTC.shape[-1]
        queries_BHTC = common_channels(qkv.queries_BHTC, self.width // self.heads).to(scores_BHTS.dtype)
        keys_BHSC = common_channels(qkv.keys_BHSC, queries_BHTC.shape[-1]).to(scores_BHTS.dtype)
        content_H1C, position_H1C = (
            common_channels(parameters[layer].to(scores_BHTS.dtype).view(self.heads, 1, -1), channels)
            for parameters in (self.content_LD, self.place_LD)
        )
        projected_HNC = common_channels(self.projected_sinusoids(scores_BHTS, layer), channels)
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device).long()
        products_BHTN = (queries_BHTC + position_H1C) @ projected_HNC.mT
        products_BHTS = products_BHTN.gather(-1, distance_TS.expand(*products_BHTN.shape[:-1], distance_TS.shape[-1]))
        return (content_H1C @ keys_BHSC.mT + products_BHTS) / math.sqrt(channels)

    def distances(self, tokens: int) -> Tensor:
        """The distance to encode for tokens that are 0, 1, ..., T - 1 tokens apart.

        Args:
            tokens: T.

        Returns:
            Distances, int64, T.
        """
        return torch.arange(tokens)

    def projected_sinusoids(self, scores_BHTS: Tensor, layer: int) -> Tensor:
        """Compute ``W_r r_d`` of every distance d of the sequence.

        Args:
            scores_BHTS: Scores; they give the number of distances, the device and the dtype.
            layer: Index of the layer, from 0.

        Returns:
            The projected sinusoids, H x N x C.
        """
        distance_N = self.distances(scores_BHTS.shape[-1]).to(scores_BHTS)
        table_ND = sinusoids(distance_N, self.width, self.base)
        projected_ND = table_ND @ self.wave_LDD[layer].to(scores_BHTS.dtype).mT
        return projected_ND.unflatten(-1, (self.heads, -1)).transpose(0, 1)


@register("xl", source="arXiv:1901.02860, section 3.3", aliases=("relative",))
@final
class Xl(SinusoidalBias):
    """Each query reads sinusoids of the distance; two learned queries, shared by all tokens, read keys and distances.

    Options:
        base: The longest wavelength is below 2 pi times this, in tokens.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context, base)
