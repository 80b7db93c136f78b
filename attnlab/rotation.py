"""Rotations of pairs of channels, shared by positions and by attentions that rotate queries and keys themselves.

    (x_m, x_{m+W}) <- (x_m cos a_m - x_{m+W} sin a_m, x_m sin a_m + x_{m+W} cos a_m)

A pair is (m, m + W), the halves layout. Where the angle of a token is a sum over the tokens up to it, the product of a
rotated query and a rotated key depends on the sum over the tokens between them alone.

Letters  B batch, H heads, T tokens, C channels per head, W pairs of channels.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.tensors import at_least_float32

CHUNK = 32
"""Tokens whose angles are summed before full turns are taken off."""
COARSE_TURN = 6.28125
"""The first digits of 2 pi."""


class Rotation(Protocol):
    """What a position does to queries and keys, once the layer and its input are known."""

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries, rotated by their position.

        Args:
            tensor_BHTC: Queries.
            start: Position of the first token.

        Returns:
            B x H x T x C; with twice the channels where the position is ``polar``.
        """

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Keys, rotated by their position.

        Args:
            tensor_BHSC: Keys.

        Returns:
            B x H x S x C; with twice the channels where the position is ``polar``.
        """


def rotate_pairs(tensor_BHTC: Tensor, angle_TW: Tensor, gain: float | Tensor = 1.0) -> Tensor:
    """Rotate each pair of channels by its angle and scale it; further channels stay as they are.

    Args:
        tensor_BHTC: Queries or keys.
        angle_TW: Angles in radians, broadcastable to the tensor but for the channels.
        gain: Factor on the rotated channels; or one for each position and pair, T x W.

    Returns:
        The rotated tensor, B x H x T x C.
    """
    cosine_TW, sine_TW = (gain * angle_TW.cos()).to(tensor_BHTC.dtype), (gain * angle_TW.sin()).to(tensor_BHTC.dtype)
    cosine_TC, sine_TC = torch.cat([cosine_TW, cosine_TW], -1), torch.cat([-sine_TW, sine_TW], -1)
    pairs = angle_TW.shape[-1]
    paired, rest = tensor_BHTC[..., : 2 * pairs], tensor_BHTC[..., 2 * pairs :]
    # A roll by half the channels swaps the two of each pair. Its backward is a roll too, with no tensor of zeros.
    rotated = torch.addcmul(paired * cosine_TC, paired.roll(pairs, -1), sine_TC)
    return torch.cat([rotated, rest], dim=-1) if rest.shape[-1] else rotated


def paired_channels(tensor_BHTC: Tensor) -> int:
    """Count the channels that form pairs; the queries of some attentions have an odd number of channels.

    Args:
        tensor_BHTC: Queries or keys.

    Returns:
        The largest even number up to C.
    """
    return tensor_BHTC.shape[-1] // 2 * 2


def running_angles(steps_BHTW: Tensor) -> Tensor:
    """Sum the steps of all tokens up to each one, without full turns.

    Sums of long sequences are large, and a large number has few digits after the point. Full turns are therefore taken
    off after every chunk of tokens, after every chunk of chunks, and so on.

    Args:
        steps_BHTW: The angle by which each token turns all later ones and itself, in radians.

    Returns:
        Angles modulo 2 pi up to a chunk's own sum, float32 or more, B x H x T x W.
    """
    steps = at_least_float32(steps_BHTW)
    tokens = steps.shape[-2]
    if tokens <= CHUNK:
        return steps.cumsum(-2)
    chunks = functional.pad(steps, (0, 0, 0, -tokens % CHUNK)).unflatten(-2, (-1, CHUNK))
    within = chunks.cumsum(-2)
    before = running_angles(without_turns(within[..., :-1, -1, :]))
    before = functional.pad(without_turns(before), (0, 0, 1, 0))
    return (within + before[..., None, :]).flatten(-3, -2)[..., :tokens, :]


def without_turns(angle: Tensor) -> Tensor:
    """Take full turns off angles.

    2 pi in float32 is off by 2e-7, which every turn would add. It is therefore taken off in two parts, of which the
    first has few digits, so that its multiples are exact.

    Args:
        angle: Angles in radians.

    Returns:
        The same angles in 0 .. 2 pi, up to rounding.
    """
    turns = (angle.detach() / (2 * math.pi)).floor()
    return angle - turns * COARSE_TURN - turns * (2 * math.pi - COARSE_TURN)


def rotate_heads(tensor_BHTC: Tensor, angle_BHTW: Tensor) -> Tensor:
    """Rotate queries or keys by angles that each head computes from its tokens.

    Args:
        tensor_BHTC: Queries or keys. With one head, all heads share them, and each rotates them by its own angles. With
            a multiple of the heads, neighboring ones have the angles of one head. Further axes may stand before the
            heads.
        angle_BHTW: Angles in radians. Pairs of the tensor without an angle stay as they are; further angles are not
            used.

    Returns:
        The rotated tensor, with all heads.
    """
    heads, own = tensor_BHTC.shape[-3], angle_BHTW.shape[-3]
    if heads > own:
        angle_BHTW = angle_BHTW.repeat_interleave(heads // own, -3)
    further = tensor_BHTC.ndim - angle_BHTW.ndim
    angle = angle_BHTW.reshape(len(angle_BHTW), *[1] * further, *angle_BHTW.shape[1:])
    if heads < own:
        tensor_BHTC = tensor_BHTC.expand(*tensor_BHTC.shape[:-3], own, -1, -1)
    return rotate_pairs(tensor_BHTC, angle[..., : paired_channels(tensor_BHTC) // 2])
