"""Retention (RetNet): linear attention with one fixed decay per head, without a normalizer.

    A_ij = gamma_h^(i - j) q_i.k_j / sqrt(C),   gamma_h = 1 - 2^(-5 - h)

Source   Sun et al., "Retentive network", arXiv:2307.08621.
Theirs   gamma -> our gamma_h;  the exponent 5 -> our ``octave``.
Differs  rotary or xPos is the position of the model (``rotary``), not a part of the layer. Their swish gate is the
         modifier ``gate`` (element), with which there are 8 D^2 weights. The norm per head has no gain.

Letters  H heads, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field

from attnlab.attention.base import RowConstraint, register
from attnlab.attention.ops.scan import Recurrence, Recurrent
from attnlab.tensors import QKV, LayerContext


@register("retention", source="arXiv:2307.08621", aliases=("retnet",))
@final
class Retention(Recurrent):
    """A state that decays at a fixed rate, lower from head to head.

    Options:
        expand: Width of the values, as a multiple of the width of the model.
        octave: The first head loses the fraction 2^-octave per token, each next head half of that; 5 as published,
            which has little effect within 64 tokens.
    """

    row_constraint = RowConstraint.FREE

    def __init__(
        self,
        context: LayerContext,
        *,
        expand: Annotated[int, Field(ge=1)] = 2,
        octave: Annotated[float, Field(gt=0)] = 5.0,
    ) -> None:
        super().__init__(context, values=expand * context.channels)
        self.octave = octave

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D^2 + 2 e D^2`` for values e times as wide."""
        return 2 * (1 + options["expand"]) * width**2

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Scaled queries, keys, and the same decay at every token."""
        queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
        head_H = torch.arange(self.num_heads, dtype=queries.dtype, device=queries.device)
        decay_H = torch.log1p(-(2.0 ** -(self.octave + head_H)))
        decay_HS1 = decay_H[:, None, None].expand(-1, keys.shape[-2], 1)
        return Recurrence(queries / math.sqrt(queries.shape[-1]), keys, decay_HS1)
