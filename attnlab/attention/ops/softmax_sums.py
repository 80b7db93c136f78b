"""Causal softmax attention as one function of autograd, by compiled loops; vmapped runs are folded into the batch.

Torch's fused kernel (2.13.0) has no gradient of a bias, and takes 1.25 to 1.6 times as long from 128 tokens on: see
benchmarks/README.md, "Speed".

Letters  B batch, N biases, each of B / N sequences that follow each other, H heads, T queries, S keys, C channels.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from attnlab.attention.ops.loops import usable
from attnlab.attention.ops.tiles import fold_runs
from attnlab.differentiation import differentiable_once


def softmax_sums_suit(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> bool:
    """Decide whether loops take these tensors.

    Args:
        queries: B x H x T x C.
        keys: B x H x S x C.
        values: B x H x S x D.
        bias: Broadcastable to the scores; None is no bias.

    Returns:
        True for float32 on a CPU, with keys and values for each head of the queries.
    """
    heads = queries.ndim == keys.ndim == values.ndim == 4 and queries.shape[:2] == keys.shape[:2] == values.shape[:2]
    return heads and usable(queries, keys, values, *([] if bias is None else [bias]))


def softmax_sums(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None, start: int = 0) -> Tensor:
    """Mix the values of each query's own and earlier tokens by the softmax of their scores.

    Args:
        queries: B x H x T x C.
        keys: B x H x S x C.
        values: B x H x S x D.
        bias: Added to the scores; broadcastable to H x T x S, of all sequences, or to B x H x T x S.
        start: Position of the first query among the keys; T + start is at most S.

    Returns:
        B x H x T x D.
    """
    if bias is not None:
        bias = bias.expand(*(bias.shape[:-3] or (1,)), queries.shape[1], queries.shape[2], keys.shape[2])
    mixed: Tensor = _Sums.apply(queries, keys, values, bias, start)  # type: ignore[no-untyped-call]
    return mixed


@final
class _Sums(torch.autograd.Function):
    """The weighted sums."""

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, start: int) -> Tensor:
        """Run the loop of the forward pass."""
        from attnlab.attention.ops import softmax_loops

        return softmax_loops.forward(queries, keys, values, bias, start)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs and the result, none of which has more numbers than the bias or the tokens."""
        *tensors, ctx.start = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Run the loop of the backward pass."""
        learned = ctx.needs_input_grad[3]
        *grads, slopes = _Gradients.apply(*ctx.saved_tensors, grad, ctx.start, learned)  # type: ignore[no-untyped-call]
        return *grads, slopes if learned else None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        """Fold the runs into the batch."""
        runs, (*tensors, bias, start) = info.batch_size, args
        queries, keys, values = fold_runs(runs, in_dims[:3], tuple(tensors))
        each = None if bias is None else next(fold_runs(runs, in_dims[3:4], (bias,)))
        return softmax_sums(queries, keys, values, each, start).unflatten(0, (runs, -1)), 0


@final
class _Gradients(torch.autograd.Function):
    """The gradients: a function of its own, so that runs are folded where a way back is itself vmapped."""

    @staticmethod
    def forward(
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor | None,
        mixed: Tensor,
        grad: Tensor,
        start: int,
        learned: bool,
    ) -> tuple[Tensor, ...]:
        """Run the loop of the backward pass; nothing but an empty tensor is returned of a bias that is not learned."""
        from attnlab.attention.ops import softmax_loops

        *grads, slopes = softmax_loops.backward(queries, keys, values, bias, mixed, grad, start, learned)
        return *grads, queries.new_empty(1, 0) if slopes is None else slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep nothing: there is no second derivative."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Fold the runs into the batch."""
        runs, (queries, keys, values, bias, mixed, grad, *options) = info.batch_size, args
        dims = *in_dims[:3], *in_dims[4:6]
        q, k, v, y, g = fold_runs(runs, dims, (queries, keys, values, mixed, grad))
        each = None if bias is None else next(fold_runs(runs, in_dims[3:4], (bias,)))
        *grads, slopes = _Gradients.apply(q, k, v, each, y, g, *options)  # type: ignore[no-untyped-call]
        slopes = slopes if options[1] else slopes.expand(runs, 0)
        return tuple(one.unflatten(0, (runs, -1)) for one in (*grads, slopes)), (0, 0, 0, 0)
