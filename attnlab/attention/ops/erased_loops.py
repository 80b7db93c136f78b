"""Values from which each token erases what the earlier ones hold, by compiled loops, a block of rows at a time.

The formulas are those of :mod:`attnlab.attention.ops.erased_values`: a block of rows of E is a softmax over earlier
keys times b; its solution is a product with the u before it, and a substitution over its own tokens.

Letters  B batch, H heads, T tokens, C channels per head of keys, D of values, R rows of a block.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops.loop_math import FOUR, ONE, THREE, ZERO, product, room_to_transpose, softmax_row
from attnlab.attention.ops.looped import Tensors
from attnlab.attention.ops.loops import Numbers, in_threads, loop, rows_of
from attnlab.attention.ops.small_transposes import transpose
from attnlab.attention.ops.tiles import empty_like_heads

ROWS = 16
"""Most rows of a block: pairs within one are substituted one by one."""


@final
class ErasedLoops:
    """u; of w, keys, b and values."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute u.

        Args:
            *tensors: w, keys, b and values, B x H x T x C, b of one channel.

        Returns:
            u, B x H x T x D.
        """
        erasers, keys, strengths, values = tensors
        erased = empty_like_heads(values)
        arrays = [*map(rows_of, (erasers, keys, values, erased)), strengths.detach()[..., 0].numpy()]
        in_threads(_forward, arrays, keys.numel() * keys.shape[-2], *_numbers(keys, values))
        return erased

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients of all four.

        Args:
            tensors: As in ``forward``.
            result: What it returned.
            grad: The gradient of the result.

        Returns:
            One of the shape of each tensor.
        """
        erasers, keys, strengths, values = tensors
        results = empty_like_heads(erasers), empty_like_heads(keys).zero_(), empty_like_heads(values)
        strength_grads = strengths.new_empty(strengths.shape)
        arrays = [
            *map(rows_of, (erasers, keys, result, grad, *results)),
            *(one.detach().numpy() for one in (strengths[..., 0], strength_grads[..., 0])),
        ]
        in_threads(_backward, arrays, 3 * keys.numel() * keys.shape[-2], *_numbers(keys, values))
        return results[0], results[1], strength_grads, results[2]


def _numbers(keys: Tensor, values: Tensor) -> tuple[np.float32, int]:
    """The factor on the products, and the rows of a block."""
    return np.float32(1 / math.sqrt(keys.shape[-1])), ROWS


@loop(f"void({', '.join([FOUR] * 4 + [THREE])}, float32, int64)")
def _forward(
    erasers: Numbers,
    keys: Numbers,
    values: Numbers,
    erased: Numbers,
    strengths: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill ``erased``."""
    batch, heads, tokens, channels = keys.shape
    size = values.shape[3]
    scores, own = np.empty((rows, tokens), np.float32), np.empty((rows, size), np.float32)
    transposed_keys = room_to_transpose(channels, tokens)
    for b in range(batch):
        for h in range(heads):
            w, k, v, u = erasers[b, h], keys[b, h], values[b, h], erased[b, h]
            transpose(k, transposed_keys)
            for row in range(0, tokens, rows):
                end = min(row + rows, tokens)
                count = end - row
                product(w[row:end], transposed_keys[:, :end], scale, ZERO, scores[:count, :end])
                for i in range(count):
                    weights, strength = scores[i], strengths[b, h, row + i]
                    softmax_row(weights, row + i)
                    for j in range(row + i):
                        weights[j] *= strength
                    for d in range(size):
                        own[i, d] = v[row + i, d]
                if row > 0:
                    product(scores[:count, :row], u[:row], -ONE, ONE, own[:count])
                for i in range(count):
                    for j in range(i):
                        weight = scores[i, row + j]
                        for d in range(size):
                            own[i, d] -= weight * own[j, d]
                    for d in range(size):
                        u[row + i, d] = own[i, d]


@loop(f"void({', '.join([FOUR] * 7 + [THREE] * 2)}, float32, int64)")
def _backward(
    erasers: Numbers,
    keys: Numbers,
    erased: Numbers,
    grads: Numbers,
    eraser_grads: Numbers,
    key_grads: Numbers,
    value_grads: Numbers,
    strengths: Numbers,
    strength_grads: Numbers,
    scale: np.float32,
    rows: int,
) -> None:
    """Fill the gradients, and add to those of the keys."""
    batch, heads, tokens, channels = keys.shape
    size = erased.shape[3]
    scores, slopes = np.empty((rows, tokens), np.float32), np.empty((rows, tokens), np.float32)
    g, erasing = np.empty((tokens, size), np.float32), np.empty((rows, tokens), np.float32)
    transposed_keys, transposed_erased = room_to_transpose(channels, tokens), room_to_transpose(size, tokens)
    for b in range(batch):
        for h in range(heads):
            w, k, u = erasers[b, h], keys[b, h], erased[b, h]
            dw, dk, dv = eraser_grads[b, h], key_grads[b, h], value_grads[b, h]
            transpose(k, transposed_keys)
            transpose(u, transposed_erased)
            for i in range(tokens):
                for d in range(size):
                    g[i, d] = grads[b, h, i, d]
            for row in range((tokens - 1) // rows * rows, -1, -rows):
                end = min(row + rows, tokens)
                count = end - row
                product(w[row:end], transposed_keys[:, :end], scale, ZERO, scores[:count, :end])
                for i in range(count):
                    weights, shares, strength = scores[i], erasing[i], strengths[b, h, row + i]
                    softmax_row(weights, row + i)
                    for j in range(row + i):
                        shares[j] = strength * weights[j]
                for i in range(count - 1, -1, -1):
                    for j in range(i):
                        weight = erasing[i, row + j]
                        for d in range(size):
                            g[row + j, d] -= weight * g[row + i, d]
                    for d in range(size):
                        dv[row + i, d] = g[row + i, d]
                if row > 0:
                    product(erasing[:count, :row].T, g[row:end], -ONE, ONE, g[:row])
                product(g[row:end], transposed_erased[:, :end], -ONE, ZERO, slopes[:count, :end])
                for i in range(count):
                    weights, ds, total, strength = scores[i], slopes[i], ZERO, strengths[b, h, row + i]
                    for j in range(row + i):
                        total += weights[j] * ds[j]
                    strength_grads[b, h, row + i] = total
                    for j in range(row + i):
                        ds[j] = strength * weights[j] * (ds[j] - total)
                    for j in range(row + i, end):
                        ds[j] = ZERO
                product(slopes[:count, :end], k[:end], scale, ZERO, dw[row:end])
                product(slopes[:count, :end].T, w[row:end], scale, ONE, dk[:end])
