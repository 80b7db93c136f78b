"""Short convolutions over the past, one filter for each channel.

Letters  B batch, T tokens, D channels, K taps.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from attnlab.attention.ops.precision import full_precision, rounds_factors


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
