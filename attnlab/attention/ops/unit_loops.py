"""Vectors scaled to a length, forth and back, by compiled loops: torch makes a pass over them for each operation.

    y = s x o g,   s = 1 / sqrt(w sum(x^2) + eps)

with w = 1 and no gain g for a length of one, and w = 1/C for a root mean square of one. The gain is one number for each
channel, or for each head. With dy the gradient of y,

    dx = s dy o g - w s^3 x (x . (dy o g)),   dg = the sum over vectors of s dy o x

A tensor is given as all its memory and its first three strides, since its channels lie side by side: the compiler makes
vectors of loops over the memory itself, and of few over a row of an array.

Letters  B batch, H heads, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import ONE, ZERO
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Integers, Numbers, in_threads, loop, memory_of
from attnlab.attention.ops.tiles import empty_like_heads

MEMORY = "float32[::1]"
FIRST = "uint64[:, :], uint64[::1], uint64[:, ::1], float32, float32"
"""Types of: the heads of sequences, as their indices among all B x H; H, T, C and the numbers of a gain; the strides of
all tensors; w and eps. Integers have no sign, since an index that may be negative keeps a loop from being made of
vectors."""


@final
class UnitLoops:
    """y; of x and a gain for the channels or the heads of each sequence, which has no channels where it is 1.

    Args:
        weight: w.
        eps: Added to the sum of squares times w.
    """

    def __init__(self, weight: float, eps: float) -> None:
        self.numbers = np.float32(weight), np.float32(eps)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute y.

        Args:
            *tensors: x, B x H x T x C; the gain, B x 1 x 1 x C, B x H x 1 x 1 or B x 1 x 1 x 0.

        Returns:
            B x H x T x C.
        """
        vectors, gains = tensors
        scaled = empty_like_heads(vectors)
        self._run(_forward, (vectors, scaled), gains)
        return scaled

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients of both.

        Args:
            tensors: As in ``forward``.
            result: What it returned.
            grad: The gradient of the result.

        Returns:
            One of the shape of each tensor.
        """
        vectors, gains = tensors
        grads = empty_like_heads(vectors)
        gain_grads = gains.new_zeros(*vectors.shape[:2], 1, gains.shape[-1])  # of each head, as threads share the heads
        self._run(_backward, (vectors, grad, grads, gain_grads), gains)
        return grads, gain_grads.sum_to_size(gains.shape)

    def _run(self, passed: Callable[..., None], tensors: Tensors, gains: Tensor) -> None:
        """Call a pass, a thread for some of the heads."""
        batch, heads, tokens, channels = tensors[0].shape
        expanded = gains.expand(batch, heads, 1, -1).contiguous()
        memories, strides = zip(*map(memory_of, (*tensors, expanded)), strict=True)
        sizes = np.array((heads, tokens, channels, gains.shape[-1]), np.uint64)
        indices, steps = np.arange(batch * heads, dtype=np.uint64)[:, None], np.array(strides, np.uint64)
        in_threads(passed, [indices], 8 * tensors[0].numel(), sizes, steps, *self.numbers, *memories)


@loop(f"void({FIRST}, {MEMORY}, {MEMORY}, {MEMORY})")
def _forward(
    indices: Integers,
    sizes: Integers,
    strides: Integers,
    weight: np.float32,
    eps: np.float32,
    vectors: Numbers,
    scaled: Numbers,
    gains: Numbers,
) -> None:
    """Fill ``scaled``."""
    heads, tokens, channels, numbers = sizes
    for place in range(len(indices)):
        b, h = indices[place, 0] // heads, indices[place, 0] % heads
        x = b * strides[0, 0] + h * strides[0, 1]
        y = b * strides[1, 0] + h * strides[1, 1]
        g = indices[place, 0] * numbers
        for _ in range(tokens):
            total = ZERO
            for c in range(channels):
                total += vectors[x + c] * vectors[x + c]
            s = ONE / np.sqrt(weight * total + eps)
            if numbers > 1:
                for c in range(channels):
                    scaled[y + c] = s * vectors[x + c] * gains[g + c]
            else:
                if numbers == 1:
                    s *= gains[g]
                for c in range(channels):
                    scaled[y + c] = s * vectors[x + c]
            x += strides[0, 2]
            y += strides[1, 2]


@loop(f"void({FIRST}, {', '.join([MEMORY] * 5)})")
def _backward(
    indices: Integers,
    sizes: Integers,
    strides: Integers,
    weight: np.float32,
    eps: np.float32,
    vectors: Numbers,
    grads: Numbers,
    vector_grads: Numbers,
    gain_grads: Numbers,
    gains: Numbers,
) -> None:
    """Fill the gradients of the vectors, and add to those of the gains of each head."""
    heads, tokens, channels, numbers = sizes
    gained = np.empty(channels, np.float32)
    for place in range(len(indices)):
        b, h = indices[place, 0] // heads, indices[place, 0] % heads
        x = b * strides[0, 0] + h * strides[0, 1]
        dy = b * strides[1, 0] + h * strides[1, 1]
        dx = b * strides[2, 0] + h * strides[2, 1]
        g = indices[place, 0] * numbers
        for _ in range(tokens):
            total, along = ZERO, ZERO
            for c in range(channels):
                total += vectors[x + c] * vectors[x + c]
            s = ONE / np.sqrt(weight * total + eps)
            factor = s
            if numbers > 1:
                for c in range(channels):
                    gain_grads[g + c] += s * grads[dy + c] * vectors[x + c]
                    gained[c] = grads[dy + c] * gains[g + c]
                    along += gained[c] * vectors[x + c]
                along *= weight * s * s
                for c in range(channels):
                    vector_grads[dx + c] = s * (gained[c] - along * vectors[x + c])
            else:
                for c in range(channels):
                    along += grads[dy + c] * vectors[x + c]
                if numbers == 1:
                    gain_grads[g] += s * along
                    factor = s * gains[g]
                along *= weight * s * s
                for c in range(channels):
                    vector_grads[dx + c] = factor * (grads[dy + c] - along * vectors[x + c])
            x += strides[0, 2]
            dy += strides[1, 2]
            dx += strides[2, 2]
