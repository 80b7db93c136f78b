"""Vectors scaled to a root mean square of one.

    y = g s x,  s = 1 / sqrt(mean(x^2) + eps)

The gain g is one number for each vector, so it multiplies s, which is one number, and not the C channels. The way back
needs x, s and one product per vector:

    dx = g s dy - g s^3 x (dy . x) / C,  dg = s (dy . x)

A gain that multiplied the result instead would need a pass over all channels of its own, forth and back. Compiled loops
compute the norm of heads in one pass where they can be used and the gain is one for each head.

Source   Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467, equation 4.
Differs  in eps, which their equation does not have, and in the gain, which theirs has for each channel.

Letters  N vectors, C channels.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from attnlab.attention.ops.looped import looped
from attnlab.attention.ops.loops import usable
from attnlab.differentiation import differentiable_once
from attnlab.tensors import at_least_float32


def rms_norm(x_NC: Tensor, gain_N1: Tensor | None = None) -> Tensor:
    """The last axis scaled to a root mean square of one, times a gain; zeros stay zeros.

    Args:
        x_NC: Of any shape; squares are summed in float32 or more.
        gain_N1: Broadcast against the shape with one channel; None is 1.

    Returns:
        A tensor of the same shape and type. Its second derivative is not offered.
    """
    exact_NC = at_least_float32(x_NC)
    gain = exact_NC.new_ones(()) if gain_N1 is None else gain_N1.to(exact_NC.dtype)
    eps = torch.finfo(x_NC.dtype).eps
    if x_NC.ndim == 4 and usable(x_NC, gain):
        from attnlab.attention.ops.unit_loops import UnitLoops

        batch, heads, _, channels = x_NC.shape
        if gain_N1 is None:
            return looped(UnitLoops(1 / channels, eps), x_NC, x_NC.new_empty(batch, 1, 1, 0))
        if gain.shape == (heads, 1, 1):
            return looped(UnitLoops(1 / channels, eps), x_NC, gain.expand(batch, -1, -1, -1))
    normed_NC: Tensor = _RmsNorm.apply(exact_NC, gain, eps)  # type: ignore[no-untyped-call]
    return normed_NC.to(x_NC.dtype)


@final
class _RmsNorm(torch.autograd.Function):
    """The norm and its way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x_NC: Tensor, gain_N1: Tensor, eps: float) -> Tensor:
        """Scale each vector."""
        return x_NC * (_inverse(x_NC, eps) * gain_N1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs."""
        x_NC, gain_N1, ctx.eps = inputs
        ctx.save_for_backward(x_NC, gain_N1)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_NC: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """The gradient across each vector, and that of its gain."""
        x_NC, gain_N1 = ctx.saved_tensors
        inverse_N1 = _inverse(x_NC, ctx.eps)
        along_N1 = (grad_NC * x_NC).sum(-1, keepdim=True) * inverse_N1
        scale_N1 = inverse_N1 * gain_N1
        back_N1 = along_N1 * scale_N1 * inverse_N1 / -x_NC.shape[-1]
        grad_gain = along_N1.sum_to_size(gain_N1.shape) if ctx.needs_input_grad[1] else None
        return torch.addcmul(grad_NC * scale_N1, x_NC, back_N1), grad_gain, None


def _inverse(x_NC: Tensor, eps: float) -> Tensor:
    """One over the root mean square of each vector."""
    return (x_NC.square().mean(-1, keepdim=True) + eps).rsqrt()
