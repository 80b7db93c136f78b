"""Knocking heads: the queries, keys and values of every head pass through maps that all heads share.

    q^h <- T_q q^h,   k^h <- T_k k^h,   v^h <- T_v v^h

then softmax attention. Each T is a C x C matrix that starts as the identity. A head's own map and T multiply, so that
the functions are those of softmax attention: what differs is how training finds them. It is a control for other
interactions between heads.

Source   Zhou et al., "Knocking-heads attention", arXiv:2510.23052, its linear form.
Theirs   T^Q, T^K, T^V -> our T_q, T_k, T_v.
Differs  their form with an MLP in place of T_v is left out. The parameters are the differences from the identity, so
         that weight decay draws T to the identity.

Letters  B batch, H heads, S keys, C channels per head.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from attnlab.attention.base import Attention, register
from attnlab.tensors import QKV, LayerContext, LayerInputs


@register("knocking-heads", source="arXiv:2510.23052", aliases=("kha",))
@final
class KnockingHeads(Attention):
    """Softmax attention with maps of queries, keys and values that all heads share.

    Options:
        values_only: Whether values alone have a map; that of the values matters most in the paper.
    """

    sdpa_compatible = True

    def __init__(self, context: LayerContext, *, values_only: bool = False) -> None:
        super().__init__(context)
        maps = 1 if values_only else 3
        self.shared = nn.ParameterList(torch.zeros(context.channels, context.channels) for _ in range(maps))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + n C^2`` for n shared maps: three, or one of the values alone."""
        return 4 * width**2 + (1 if options["values_only"] else 3) * (width // heads) ** 2

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values after the shared maps."""
        qkv = super().project(x_BTD, layer_inputs)
        values_BHSC = mapped(qkv.values_BHSC, self.shared[-1])
        if len(self.shared) == 1:
            return qkv._replace(values_BHSC=values_BHSC)
        # A slice of a ParameterList would be a copy.
        queries_BHTC, keys_BHSC = mapped(qkv.queries_BHTC, self.shared[0]), mapped(qkv.keys_BHSC, self.shared[1])
        return QKV(queries_BHTC, keys_BHSC, values_BHSC)


def mapped(tensor_BHSC: Tensor, difference_CC: Tensor) -> Tensor:
    """The channels of every head after a shared map.

    Args:
        tensor_BHSC: Queries, keys or values.
        difference_CC: The difference of the map from the identity.

    Returns:
        B x H x S x C.
    """
    return tensor_BHSC + tensor_BHSC @ difference_CC.mT.to(tensor_BHSC.dtype)
