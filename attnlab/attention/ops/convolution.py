"""Short convolutions over the past, one filter for each channel.

    conv      y_t = w_0 o x_{t-3} + .. + w_3 o x_t      after the projections to queries, keys or values

The option ``conv`` of linear mixers is the convolution of their papers: of each projection, before its SiLU. It is not
the modifier ``short_conv``, which convolves the input of any attention once, before the projections, and starts as the
identity. Neither adds its input to its output.

Source   conv: Yang et al., arXiv:2406.06484, section 3.4; Gu and Dao, arXiv:2312.00752; four taps and no offset, as
         flash-linear-attention has it. The taps start in U(-1/2, 1/2), as torch's own convolution.

Letters  B batch, H heads, T tokens, D channels, C channels per head, K taps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, final

from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.ops.precision import full_precision, rounds_factors
from attnlab.tensors import QKV, LayerContext

Convolved = Literal["none", "q", "k", "v", "qk", "qv", "kv", "qkv"]
"""Of which projections the option ``conv`` takes the convolution: queries, keys, values, or several."""
TAPS = 4
"""Taps of the option ``conv``."""


def causal_convolution(x_BTD: Tensor, tap_D1K: Tensor) -> Tensor:
    """Convolve each channel with a filter of its own over the current and the previous tokens.

    Args:
        x_BTD: Tokens.
        tap_D1K: The filters; the last tap is that of the current token.

    Returns:
        B x T x D. In the filters' precision within a step in bf16: a sum of a few products gains nothing from bf16.
    """
    x_BDT = x_BTD.to(tap_D1K.dtype).mT if rounds_factors(x_BTD) else x_BTD.mT
    with full_precision(x_BTD):
        return functional.conv1d(functional.pad(x_BDT, (tap_D1K.shape[-1] - 1, 0)), tap_D1K, groups=len(tap_D1K)).mT


@final
class Convolutions(nn.Module):
    """The convolutions after the projections of one attention.

    Args:
        context: The layer that the attention is built for.
        chosen: The projections that are convolved.
        widths: Channels of all heads of each projection, by ``q``, ``k`` and ``v``.
    """

    def __init__(self, context: LayerContext, chosen: Convolved, widths: Mapping[str, int]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(TAPS)
        self.taps = nn.ParameterDict(
            {name: context.uniform(widths[name], 1, TAPS, bound=bound) for name in _letters(chosen)}
        )

    def forward(self, qkv: QKV, *, silu: bool) -> QKV:
        """Convolve the chosen ones of queries, keys and values.

        Args:
            qkv: Queries, keys and values as they were projected, B x H x T x C each.
            silu: Whether a SiLU follows each convolution here; false where the attention has one for all three.

        Returns:
            The same, of the same shapes.
        """
        queries, keys, values = (
            self._convolved(tensor, name, silu) for tensor, name in zip(qkv[:3], "qkv", strict=True)
        )
        return qkv._replace(queries_BHTC=queries, keys_BHSC=keys, values_BHSC=values)

    def _convolved(self, tensor_BHTC: Tensor, name: str, silu: bool) -> Tensor:
        """One of the three, convolved if it is chosen."""
        if name not in self.taps:
            return tensor_BHTC
        joined_BTD = tensor_BHTC.transpose(-3, -2).flatten(-2)
        convolved_BTD = causal_convolution(joined_BTD, self.taps[name])
        convolved_BHTC = convolved_BTD.unflatten(-1, (tensor_BHTC.shape[-3], -1)).transpose(-3, -2)
        return functional.silu(convolved_BHTC) if silu else convolved_BHTC

    def state_size(self, tokens: int, width: int) -> int:
        """Numbers that a decoder keeps for the convolutions: their inputs, or the tokens that these follow from.

        Args:
            tokens: Tokens so far.
            width: D, the channels of a token.

        Returns:
            Their count; 0 without convolutions.
        """
        return min(tokens, TAPS - 1) * min(width, sum(len(tap_D1K) for tap_D1K in self.taps.values()))


def num_taps(chosen: Convolved, widths: Mapping[str, int]) -> int:
    """The number of parameters of the convolutions.

    Args:
        chosen: The projections that are convolved.
        widths: Channels of all heads of each projection, by ``q``, ``k`` and ``v``.

    Returns:
        Four for each channel that is convolved.
    """
    return TAPS * sum(widths[name] for name in _letters(chosen))


def _letters(chosen: Convolved) -> str:
    """The projections that are convolved, one letter each."""
    return "" if chosen == "none" else chosen
