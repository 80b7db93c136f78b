"""CoPE: keys are counted, not placed; a gate on each score says whether its key counts.

    p_ij = sum_{k = j..i} sigmoid(s_ik)        at most N - 1
    s_ij <- s_ij + q_i . e[p_ij],   e between whole numbers by interpolation

Source   Golovneva et al., "Contextual position encoding", arXiv:2405.18719, as read in the code of the DAPE paper
         (arXiv:2405.14722).
Theirs   g_ij -> our sigmoid(s_ij);  z_i[t] -> our q_i . e[t];  npos_max -> our N, ``count``.
Differs  in nothing known: the gates read the scores the attention forms, divided by sqrt(C); q.e is not divided; e
         starts at zero and serves all heads; each layer has its own. Where an attention makes its queries narrower or
         wider than C, q.e runs over the channels that both have: ours.

Letters  B batch, L layers, H heads, T queries, S keys, C channels per head, N vectors.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.position.base import Position, register, shared
from attnlab.tensors import QKV, LayerContext, causal_mask


@register("cope", source="arXiv:2405.18719")
@final
class Cope(Position):
    """Places counted by the content: each query counts back over the keys whose gate is open.

    Options:
        count: Vectors; a count beyond the last stays there.
    """

    biases = True

    def __init__(self, context: LayerContext, *, count: Annotated[int, Field(ge=2)] = 64) -> None:
        super().__init__(context)
        self.place_LNC = nn.Parameter(torch.zeros(context.layers, count, context.channels))

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The query against the vector of each key's count, ... x H x T x S."""
        counts = self.counts(scores_BHTS, qkv.start)
        place_NC = shared(self.place_LNC[layer].to(scores_BHTS.dtype), qkv.queries_BHTC.shape[-1])
        predictions = shared(qkv.queries_BHTC, place_NC.shape[-1]).to(scores_BHTS.dtype) @ place_NC.mT
        predictions = predictions.expand(*scores_BHTS.shape[:-1], predictions.shape[-1])
        below = counts.detach().floor().clamp_max(place_NC.shape[0] - 2)
        low, high = (predictions.gather(-1, below.long() + step) for step in (0, 1))
        return torch.lerp(low, high, counts - below)

    def counts(self, scores_BHTS: Tensor, start: int) -> Tensor:
        """Open gates between each key and its query, both included; at most N - 1, and zero in the future."""
        queries, keys = scores_BHTS.shape[-2:]
        mask_TS = causal_mask(queries, keys, start, scores_BHTS.device)
        gates = scores_BHTS.sigmoid().masked_fill(~mask_TS, 0.0)
        return gates.flip(-1).cumsum(-1).flip(-1).clamp_max(self.place_LNC.shape[1] - 1)
