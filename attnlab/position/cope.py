"""CoPE: the position of a key is a count of the keys between it and the query, each weighted by a gate.

    p_ij = sum_{k = j..i} sigmoid(s_ik)        at most N - 1
    s_ij <- s_ij + q_i . e[p_ij],   e between whole numbers by interpolation

Source   Golovneva et al., "Contextual position encoding", arXiv:2405.18719, as read in the code of the DAPE paper
         (arXiv:2405.14722).
Theirs   g_ij -> our sigmoid(s_ij);  z_i[t] -> our q_i . e[t];  npos_max -> our N, ``count``.
Differs  in nothing known: the gates read the scores the attention forms, divided by sqrt(C); q.e is not divided; e
         starts at zero and is shared by all heads; each layer has its own. Where the queries of an attention are
         narrower or wider than C, q.e runs over the channels that both have: ours.

Letters  B batch, L layers, H heads, T queries, S keys, C channels per head, N vectors.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.position.base import Position, common_channels, register
from attnlab.tensors import QKV, LayerContext, causal_mask


@register("cope", source="arXiv:2405.18719")
@final
class Cope(Position):
    """Contextual positions: each query counts the keys back to each key, weighted by gates on its scores.

    Options:
        count: Number of position vectors; larger counts use the last one.
    """

    biases = True

    def __init__(self, context: LayerContext, *, count: Annotated[int, Field(ge=2)] = 64) -> None:
        super().__init__(context)
        self.place_LNC = nn.Parameter(torch.zeros(context.layers, count, context.channels))

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The product of the query and the vector at each key's count, ... x H x T x S."""
        counts = self.counts(scores_BHTS, qkv.start)
        position_NC = common_channels(self.place_LNC[layer].to(scores_BHTS.dtype), qkv.queries_BHTC.shape[-1])
        products = common_channels(qkv.queries_BHTC, position_NC.shape[-1]).to(scores_BHTS.dtype) @ position_NC.mT
        products = products.expand(*scores_BHTS.shape[:-1], products.shape[-1])
        floors = counts.detach().floor().clamp_max(position_NC.shape[0] - 2)
        low, high = (products.gather(-1, floors.long() + step) for step in (0, 1))
        return torch.lerp(low, high, counts - floors)

    def counts(self, scores_BHTS: Tensor, start: int) -> Tensor:
        """Sum the gates from each key to its query, both included.

        Args:
            scores_BHTS: Scores.
            start: Position of the first query among the keys, from 0.

        Returns:
            Counts of at most N - 1, zero for keys after the query; in the shape of the scores.
        """
        queries, keys = scores_BHTS.shape[-2:]
        mask_TS = causal_mask(queries, keys, start, scores_BHTS.device)
        gates = scores_BHTS.sigmoid().masked_fill(~mask_TS, 0.0)
        return gates.flip(-1).cumsum(-1).flip(-1).clamp_max(self.place_LNC.shape[1] - 1)
