"""Vectors of unit length, and heads of unit size: what holds the state of a delta rule and its output in bounds.

    unit_length(x) = x / sqrt(sum(x^2) + 1e-6),   head_norm(x) = g o x / sqrt(mean(x^2) + 1e-5)

Compiled loops compute both where they can be used, in one pass where torch's operations make several.

Source   the layers of fla; the norm is that of Zhang and Sennrich, "Root mean square layer normalization",
         arXiv:1910.07467, with an eps.

Letters  B batch, H heads, T tokens, C channels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from attnlab.attention.ops import loops
from attnlab.attention.ops.looped import looped

LENGTH_EPS = 1e-6
"""Added to the squared length."""
NORM_EPS = 1e-5
"""Added to the mean square."""


def unit_length(x: Tensor) -> Tensor:
    """The last axis scaled to a length of one, slightly less where it is tiny; zeros stay zeros.

    Args:
        x: Of any shape.

    Returns:
        A tensor of the same shape.
    """
    if x.ndim == 4 and loops.usable(x):
        return _looped(x, x.new_empty(x.shape[0], 1, 1, 0), 1.0, LENGTH_EPS)
    return x * (x.square().sum(-1, keepdim=True) + LENGTH_EPS).rsqrt()


def head_norm(x_BHTC: Tensor, gain_C: Tensor) -> Tensor:
    """The last axis scaled to a root mean square of one, times a gain for each channel.

    Args:
        x_BHTC: The heads.
        gain_C: The gain.

    Returns:
        A tensor of the same shape.
    """
    if x_BHTC.ndim == 4 and loops.usable(x_BHTC, gain_C):
        gain_B11C = gain_C.expand(x_BHTC.shape[0], 1, 1, -1)
        return _looped(x_BHTC, gain_B11C, 1 / x_BHTC.shape[-1], NORM_EPS)
    return functional.rms_norm(x_BHTC, x_BHTC.shape[-1:], eps=NORM_EPS) * gain_C


def _looped(x_BHTC: Tensor, gain_B11C: Tensor, weight: float, eps: float) -> Tensor:
    """Run the loops."""
    from attnlab.attention.ops.unit_loops import UnitLoops

    return looped(UnitLoops(weight, eps), x_BHTC, gain_B11C)
