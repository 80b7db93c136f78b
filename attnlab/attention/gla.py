"""GLA, gated linear attention: every channel of the state decays at a rate computed from the token.

    A_ij = sum_c q_ic k_jc exp(g_(j+1),c + ... + g_ic) / sqrt(F)
    g    = log sigmoid(x W_1 W_2 + b) / 16

with F = C/2 channels of queries and keys per head, and W_1, W_2 of rank 16.

Source   Yang et al., "Gated linear attention transformers", arXiv:2312.06635.
Theirs   log alpha -> our g;  d_k -> our F;  tau -> our ``temper``.
Differs  their convolutions are the option `conv`, off by default as theirs; their swish gate on the output is the
         modifier ``gate`` (element); the norm per head has no gain. F is rounded up to an even number, as rotary
         positions need. b starts at 0 (ours).

Letters  B batch, H heads, T queries, S keys, C channels per head, F channels of queries and keys.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, final

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import RowConstraint, register
from attnlab.attention.ops.convolution import Convolutions, Convolved, num_taps
from attnlab.attention.ops.scan import CHANNEL_CHUNK, Recurrence, Recurrent
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32


@register("gla", source="arXiv:2312.06635", aliases=("gated-linear",))
@final
class Gla(Recurrent):
    """Linear attention with one forget gate per channel of the keys.

    Options:
        rank: Channels between the two maps of the gate.
        temper: Divisor of the logarithm of the gate; 1 gives a memory of a few tokens.
        conv: The projections (q, k, v) with a causal convolution of 4 taps, and a SiLU after it.
    """

    row_constraint = RowConstraint.FREE
    chunk: ClassVar[int] = CHANNEL_CHUNK

    def __init__(
        self,
        context: LayerContext,
        *,
        rank: Annotated[int, Field(ge=1)] = 16,
        temper: Annotated[float, Field(gt=0)] = 16.0,
        conv: Convolved = "none",
    ) -> None:
        features = half_even(context.channels)
        super().__init__(context, keys=features)
        self.temper = temper
        self.narrow = context.linear(context.width, rank)
        self.widen = context.linear(rank, context.heads * features, bias=True)
        self.convolutions = Convolutions(context, conv, widths(context.width, context.heads))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D^2 + 2 D H F + r D + (r + 1) H F`` for a gate of rank r, and 4 taps per channel that is convolved."""
        key_width, rank = heads * half_even(width // heads), options["rank"]
        taps = num_taps(options["conv"], widths(width, heads))
        return 2 * width**2 + 2 * width * key_width + rank * width + (rank + 1) * key_width + taps

    def state_size(self, tokens: int) -> int:
        """A state of F x C numbers per head, and the tokens that convolutions read again."""
        return super().state_size(tokens) + self.convolutions.state_size(tokens, self.query.in_features)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys, values, and the decay of every channel."""
        gate_BHSF = at_least_float32(self.split(self.widen(self.narrow(x_BTD))))
        decay_BHSF = functional.logsigmoid(gate_BHSF) / self.temper
        return self.convolutions(super().project(x_BTD, layer_inputs), silu=True)._replace(extra=(decay_BHSF,))

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Scaled queries, keys, and the decay of the gate."""
        queries = qkv.queries_BHTC / math.sqrt(qkv.queries_BHTC.shape[-1])
        return Recurrence(queries, qkv.keys_BHSC, qkv.extra[0])


def widths(width: int, heads: int) -> dict[str, int]:
    """The channels of all heads of queries, keys and values.

    Args:
        width: D.
        heads: H.

    Returns:
        The counts, by ``q``, ``k`` and ``v``.
    """
    key_width = heads * half_even(width // heads)
    return {"q": key_width, "k": key_width, "v": width}


def half_even(channels: int) -> int:
    """Half of the channels, rounded up to an even number; 1 for one channel.

    Args:
        channels: C.

    Returns:
        F.
    """
    return min(channels, 2 * math.ceil(channels / 4))
