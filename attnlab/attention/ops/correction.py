"""Scores corrected by a network of two convolutions over the keys that mixes all heads, some queries at a time.

    y = r + W_2 * a + b_2,   a = LeakyReLU(W_1 * x + b_1)

x holds the scores and the biases of all heads as separate maps, or their sum; r is their sum, or the scores alone. What
lies after a query counts as zero in x and in a. Compiled loops keep one map of a at a time, in the cache, and compute
no pair after its query, where y is r; nothing is kept for the way back but x.

Letters  B batch, H heads, T queries, S keys, K taps, W maps of a, N weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from attnlab.attention.ops import loops
from attnlab.attention.ops.looped import Tensors, looped


@dataclass(frozen=True)
class Network:
    """The weights of the two convolutions, and how they read the keys."""

    reader: Tensor
    """W_1, W x maps of x x 1 x K."""
    reader_bias: Tensor
    writer: Tensor
    """W_2, H x W x 1 x K."""
    writer_bias: Tensor
    after: int
    """How many of the K keys lie after the one that is written."""
    summed: bool
    """Whether x is the sum of scores and biases."""
    adds_bias: bool
    """Whether r is."""

    @property
    def tensors(self) -> Tensors:
        """All weights."""
        return self.reader, self.reader_bias, self.writer, self.writer_bias


def usable(network: Network, scores: Tensor, bias: Tensor | None) -> bool:
    """Decide whether compiled loops correct the scores.

    Args:
        network: The network.
        scores: B x H x T x S.
        bias: B x H x T x S; None without one.

    Returns:
        True for float32 on a CPU with numba.
    """
    return scores.ndim == 4 and loops.usable(scores, *network.tensors, *(() if bias is None else (bias,)))


def corrected(network: Network, scores: Tensor, bias: Tensor | None, start: int) -> Tensor:
    """Compute y.

    Args:
        network: The network.
        scores: B x H x T x S.
        bias: B x H x T x S; None without one.
        start: Index of the first query among the keys.

    Returns:
        B x H x T x S; scores, with their biases or not, after each query.
    """
    weights_N = torch.cat([one.flatten() for one in network.tensors])
    _, maps, _, taps = network.reader.shape
    program = _Correction(start, maps, len(network.reader), taps, network.after, network.summed, network.adds_bias)
    biases = scores[..., :0] if bias is None else bias
    return looped(program, scores, biases, weights_N.expand(len(scores), 1, 1, -1))


@final
@dataclass(frozen=True)
class _Correction:
    """y; of scores, biases (or a tensor without keys) and weights, B x 1 x 1 x N."""

    start: int
    maps: int
    width: int
    taps: int
    after: int
    summed: bool
    adds_bias: bool

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute y."""
        results = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
        self._run(0, tensors, (results,))
        return results

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients of scores, biases and weights."""
        grads = tuple(torch.empty_like(one, memory_format=torch.contiguous_format) for one in tensors)
        self._run(1, tensors, (grad, *grads))
        return grads

    def _run(self, which: int, inputs: Tensors, others: Tensors) -> None:
        """Call the forward pass (0) or the backward pass (1), a thread for some of the sequences."""
        from attnlab.attention.ops import correction_loops

        scores, biases, _ = inputs
        batch, heads, queries, keys = scores.shape
        sizes = correction_loops.Sizes(
            heads,
            queries,
            keys,
            self.start,
            self.maps,
            self.width,
            self.taps,
            self.after,
            bool(biases.shape[-1]),
            self.summed,
            self.adds_bias,
        )
        memories, strides = zip(*map(loops.memory_of, (*inputs, *others)), strict=True)
        loops.in_threads(
            (correction_loops.forward, correction_loops.backward)[which],
            [np.arange(batch)[:, None]],
            (1 + 2 * which) * (self.maps + heads) * self.taps * self.width * batch * queries * keys // 2,
            np.array(sizes),
            np.array(strides),
            *memories,
        )
