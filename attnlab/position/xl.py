"""Transformer-XL: relative places as waves, heard by the query, and two learned queries that all tokens share.

    s_ij = ((q_i + u).k_j + (q_i + v).W_r r_{i-j}) / sqrt(C)

    s_ij <- s_ij + (u.k_j + (q_i + v).W_r r_{i-j}) / sqrt(C)    the same, as a bias

with ``r_d`` the sines and cosines of the distance d.

Source   Dai et al., "Transformer-XL", arXiv:1901.02860, section 3.3.
Theirs   W_{k,R} -> our W_r;  R -> our r.
Differs  every layer has its own u, v and W_r: ours. u and v start at N(0, 0.02^2), W_r as every projection. It stands
         beside whatever scores an attention forms, in their common scale. Where an attention makes its queries narrower
         or wider than C, the sums run over the channels that both have: ours.

Letters  B batch, L layers, H heads, T queries, S keys, C channels per head, D width, N distances.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, distance, register, shared
from attnlab.position.sinusoidal import waves
from attnlab.tensors import QKV, LayerContext


class Relative(Position):
    """Waves of distances beside the scores, as a template: a position says how far apart it puts the tokens.

    Args:
        context: Where it stands.
        base: The longest wave is 2 pi times this.
    """

    biases = True
    reads_scores = False

    def __init__(self, context: LayerContext, base: float) -> None:
        super().__init__(context)
        if context.width % 2:
            raise InvalidValueError(f"The waves of 'xl' need an even width, not {context.width}.", where="model.width")
        self.base, self.heads, self.width = base, context.heads, context.width
        # u and v are biases of the query: vectors for each layer, and as such they do not decay.
        self.content_LD = nn.ParameterList(context.normal(context.width, std=0.02) for _ in range(context.layers))
        self.place_LD = nn.ParameterList(context.normal(context.width, std=0.02) for _ in range(context.layers))
        self.wave_LDD = nn.ParameterList(
            context.normal(context.width, context.width, std=1 / math.sqrt(context.width))
            for _ in range(context.layers)
        )

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """What ``q.k / sqrt(C)`` lacks, ... x H x T x S."""
        (queries, keys), asked = scores_BHTS.shape[-2:], qkv.queries_BHTC.shape[-1]
        queries_BHTC = shared(qkv.queries_BHTC, self.width // self.heads).to(scores_BHTS.dtype)
        keys_BHSC = shared(qkv.keys_BHSC, queries_BHTC.shape[-1]).to(scores_BHTS.dtype)
        content_H1C, place_H1C = (
            shared(stored[layer].to(scores_BHTS.dtype).view(self.heads, 1, -1), asked)
            for stored in (self.content_LD, self.place_LD)
        )
        wave_HNC = shared(self.waves(scores_BHTS, layer), asked)
        far_TS = distance(queries, keys, qkv.start, scores_BHTS.device).long()
        heard_BHTN = (queries_BHTC + place_H1C) @ wave_HNC.mT
        heard_BHTS = heard_BHTN.gather(-1, far_TS.expand(*heard_BHTN.shape[:-1], far_TS.shape[-1]))
        return (content_H1C @ keys_BHSC.mT + heard_BHTS) / math.sqrt(asked)

    def apart(self, tokens: int) -> Tensor:
        """How far apart tokens are counted that stand 0, 1, ... places from each other, for so many."""
        return torch.arange(tokens)

    def waves(self, scores_BHTS: Tensor, layer: int) -> Tensor:
        """``W_r r_d`` of every distance d that occurs, H x N x C."""
        wave_ND = waves(self.apart(scores_BHTS.shape[-1]).to(scores_BHTS), self.width, self.base)
        return (wave_ND @ self.wave_LDD[layer].to(scores_BHTS.dtype).mT).unflatten(-1, (self.heads, -1)).transpose(0, 1)


@register("xl", source="arXiv:1901.02860, section 3.3", aliases=("relative",))
@final
class Xl(Relative):
    """Each query hears the waves of the distance; two learned queries hear keys and distances for all.

    Options:
        base: The longest wave is 2 pi times this.
    """

    def __init__(self, context: LayerContext, *, base: Annotated[float, Field(gt=1)] = 10_000.0) -> None:
        super().__init__(context, base)
