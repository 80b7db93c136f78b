"""Vectors scaled to a length, forth and back, by compiled loops: torch makes a pass over them for each operation.

    y = s x o g,   s = 1 / sqrt(w sum(x^2) + eps)

with w = 1 and no gain g for a length of one, and w = 1/C for a root mean square of one. With dy the gradient of y,

    dx = s dy o g - w s^3 x (x . (dy o g)),   dg = the sum over vectors of s dy o x

Letters  B batch, H heads, T tokens, C channels, R rows: the vectors of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import ONE, ZERO
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Numbers, in_threads, loop
from attnlab.attention.ops.tiles import empty_like_heads

ROWS, GAINS = "float32[:, :, ::1]", "float32[:, ::1]"


@final
class UnitLoops:
    """y; of x and a gain for the channels of each sequence, which has no channels where it is 1.

    Args:
        weight: w.
        eps: Added to the sum of squares times w.
    """

    def __init__(self, weight: float, eps: float) -> None:
        self.numbers = np.float32(weight), np.float32(eps)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute y.

        Args:
            *tensors: x, B x H x T x C; the gain, B x 1 x 1 x C or B x 1 x 1 x 0.

        Returns:
            B x H x T x C.
        """
        vectors, gains = tensors
        scaled = empty_like_heads(vectors)
        _run(_forward, (vectors, scaled), (gains,), self.numbers)
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
        grads, gain_grads = empty_like_heads(vectors), gains.new_zeros(gains.shape)
        _run(_backward, (vectors, grad, grads), (gains, gain_grads), self.numbers)
        return grads, gain_grads


def _run(passed: Callable[..., None], tensors: Tensors, gains: Tensors, numbers: tuple[np.float32, np.float32]) -> None:
    """Call a pass with the vectors of each sequence in the order of memory, where heads of a token lie side by side."""
    rows = [one.detach().transpose(1, 2).contiguous().flatten(1, 2).numpy() for one in tensors]
    gain_rows = [one.detach().contiguous().flatten(1).numpy() for one in gains]
    in_threads(passed, [*rows, *gain_rows], 8 * tensors[0].numel(), *numbers)


@loop(f"void({ROWS}, {ROWS}, {GAINS}, float32, float32)")
def _forward(vectors: Numbers, scaled: Numbers, gains: Numbers, weight: np.float32, eps: np.float32) -> None:
    """Fill ``scaled``."""
    batch, rows, channels = vectors.shape
    gained = gains.shape[1] > 0
    for b in range(batch):
        for row in range(rows):
            x, y, g, total = vectors[b, row], scaled[b, row], gains[b], ZERO
            for c in range(channels):
                total += x[c] * x[c]
            s = ONE / np.sqrt(weight * total + eps)
            if gained:
                for c in range(channels):
                    y[c] = s * x[c] * g[c]
            else:
                for c in range(channels):
                    y[c] = s * x[c]


@loop(f"void({ROWS}, {ROWS}, {ROWS}, {GAINS}, {GAINS}, float32, float32)")
def _backward(
    vectors: Numbers,
    grads: Numbers,
    vector_grads: Numbers,
    gains: Numbers,
    gain_grads: Numbers,
    weight: np.float32,
    eps: np.float32,
) -> None:
    """Fill the gradients of the vectors, and add to those of the gains."""
    batch, rows, channels = vectors.shape
    gained = gains.shape[1] > 0
    scaled = np.empty(channels, np.float32)
    for b in range(batch):
        for row in range(rows):
            x, dy, dx, g, dg = vectors[b, row], grads[b, row], vector_grads[b, row], gains[b], gain_grads[b]
            total, along = ZERO, ZERO
            for c in range(channels):
                total += x[c] * x[c]
                scaled[c] = dy[c]
            s = ONE / np.sqrt(weight * total + eps)
            if gained:
                for c in range(channels):
                    dg[c] += s * dy[c] * x[c]
                    scaled[c] *= g[c]
            for c in range(channels):
                along += scaled[c] * x[c]
            along *= weight * s * s
            for c in range(channels):
                dx[c] = s * (scaled[c] - along * x[c])
