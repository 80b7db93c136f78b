"""Selective rotary positions: how far a token turns all later queries and keys is computed from the token.

    q_i <- R(a_i) q_i,  k_j <- R(a_j) k_j;   a_tm = base^(-2m / C) sum_{u <= t} f_um
    f_u = conv_4(W_2 W_1 x_u / |x_u|) + exp(b),   times sigmoid(W_g x_u / |x_u| + c) with ``gate``

The product of a query and a key depends on the sum of f over the tokens after the key up to the query. For f = 1 it is
`rotary`. Linear mixers rotate as softmax attention does: the state then rotates, as in `mamba3`.

Source   "Selective rotary position embedding" (ICLR 2026, OpenReview AQo1SEElNb), and its code.
Theirs   phi -> our f, phi tilde -> our sum;  temperature -> our base^(-2m / C);  phase gate -> our ``gate``.
Differs  the base is that of `rotary`, theirs 500,000; weights start as all linear maps here. The maps and the sum are
         computed in float32 at least. Theirs normalizes queries and keys after the rotation, `qk_norm` before it: the
         same, without gains per channel.

Letters  B batch, L layers, H heads, T tokens, D width, C channels per head, W pairs of channels, K taps, R rank.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.position.base import Position, register
from attnlab.position.rotary import Base, require_even_channels
from attnlab.rotation import Rotation, rotate_heads, running_angles
from attnlab.tensors import LayerContext, at_least_float32, full_precision

TAPS = 4


@register("selective-rotary", source="OpenReview AQo1SEElNb", aliases=("selective-rope",))
@final
class SelectiveRotary(Position):
    """Queries and keys rotated by a sum of angles that the tokens give, per head and pair of channels.

    Options:
        rank: R, channels between the two maps of the angles.
        base: The frequencies of the pairs, as in rotary.
        conv: Whether a causal convolution of 4 taps follows the maps.
        gate: Whether a gate per head, computed from the token, multiplies its angles.
        bias: Whether a learned positive number, 1 at first, is added to f: with it the position starts near rotary.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        rank: Annotated[int, Field(ge=1)] = 16,
        base: Base = 10_000.0,
        conv: bool = True,
        gate: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(context)
        require_even_channels(context)
        self.maps = nn.ModuleList(
            AngleSteps(context, rank, base, conv=conv, gate=gate, bias=bias) for _ in range(context.layers)
        )

    def for_input(self, x_BTD: Tensor, layer: int) -> Rotation:
        """The rotation by the angles of the layer's input."""
        return RunningRotation(running_angles(self.maps[layer](x_BTD)))


@final
class RunningRotation(Rotation):
    """Queries and keys of one layer, rotated by the angles of its tokens.

    Args:
        angle_BHTW: Angles of all tokens, in radians.
    """

    def __init__(self, angle_BHTW: Tensor) -> None:
        self.angle_BHTW = angle_BHTW

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries rotated by the angles from ``start`` on."""
        return rotate_heads(tensor_BHTC, self.angle_BHTW[..., start : start + tensor_BHTC.shape[-2], :])

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Keys rotated by the angles of all tokens."""
        return rotate_heads(tensor_BHSC, self.angle_BHTW)


@final
class AngleSteps(nn.Module):
    """How far each token of a layer turns the later ones.

    Args:
        context: The sizes of the model.
        rank: R.
        base: The frequencies of the pairs.
        conv: Whether a convolution follows the maps.
        gate: Whether a gate multiplies the angles.
        bias: Whether a learned positive number is added.
    """

    def __init__(self, context: LayerContext, rank: int, base: float, *, conv: bool, gate: bool, bias: bool) -> None:
        super().__init__()
        self.heads, self.base, pairs = context.heads, base, context.channels // 2
        self.narrow = context.linear(context.width, rank)
        self.widen = context.linear(rank, context.heads * pairs)
        self.tap_D1K = context.uniform(context.heads * pairs, 1, TAPS, bound=0.5) if conv else None
        self.gate = context.linear(context.width, context.heads, bias=True) if gate else None
        self.bias_HW = nn.Parameter(torch.zeros(context.heads, pairs)) if bias else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Compute the steps of the angles.

        Args:
            x_BTD: The input of the attention.

        Returns:
            Steps in radians, B x H x T x W; float32 or more within a step in bf16.
        """
        with full_precision(x_BTD):
            exact = x_BTD.to(self.narrow.weight.dtype)
            unit_BTD = exact * (exact.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
            steps = self.widen(self.narrow(unit_BTD))
            if self.tap_D1K is not None:
                padded = functional.pad(steps.mT, (TAPS - 1, 0))
                steps = functional.conv1d(padded, self.tap_D1K, groups=len(self.tap_D1K)).mT
            steps_BHTW = steps.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            if self.bias_HW is not None:
                steps_BHTW = steps_BHTW + self.bias_HW.exp()[:, None]
            if self.gate is not None:
                steps_BHTW = steps_BHTW * self.gate(unit_BTD).sigmoid().mT[..., None]
        pairs = steps_BHTW.shape[-1]
        steps_BHTW = at_least_float32(steps_BHTW)
        exponent_W = torch.arange(pairs, dtype=steps_BHTW.dtype, device=x_BTD.device) / pairs
        return steps_BHTW * self.base**-exponent_W
