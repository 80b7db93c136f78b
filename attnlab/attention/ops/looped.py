"""An autograd function around two compiled loops, one for each way; vmapped runs are folded into the batch.

Letters  B batch, H heads, T tokens, C channels per head.
"""

from __future__ import annotations

from typing import Any, Protocol, final

import torch
from torch import Tensor

from attnlab.attention.ops.loops import usable
from attnlab.attention.ops.tiles import fold_runs
from attnlab.differentiation import differentiable_once

Tensors = tuple[Tensor, ...]


class Program(Protocol):
    """What is computed of tensors B x H x T x C, each sequence and head by itself."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute the result.

        Args:
            *tensors: B x H x T x C.

        Returns:
            B x H x T x C.
        """

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the gradients.

        Args:
            tensors: As in ``forward``.
            result: What it returned.
            grad: The gradient of the result.

        Returns:
            One of the shape of each tensor.
        """


def suits(queries: Tensor, keys: Tensor, *others: Tensor) -> bool:
    """Decide whether loops over all queries of a sequence take these tensors.

    Args:
        queries: B x H x T x C.
        keys: B x H x S x C.
        *others: Further tensors.

    Returns:
        True for as many queries as keys, with the axes above, which :func:`attnlab.attention.ops.loops.usable` takes.
    """
    return queries.ndim == 4 and queries.shape == keys.shape and usable(queries, keys, *others)


def looped(program: Program, *tensors: Tensor) -> Tensor:
    """Run a program.

    Args:
        program: What is computed.
        *tensors: B x H x T x C, float32 on a CPU.

    Returns:
        Its result, B x H x T x C.
    """
    result: Tensor = _Looped.apply(program, *tensors)  # type: ignore[no-untyped-call]
    return result


@final
class _Looped(torch.autograd.Function):
    """The result of a program."""

    @staticmethod
    def forward(program: Program, *tensors: Tensor) -> Tensor:
        """Run the loop of the forward pass."""
        return program.forward(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs and the result, whose sizes grow with the length alone."""
        ctx.program, *tensors = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Run the loop of the backward pass."""
        return None, *_Gradients.apply(ctx.program, *ctx.saved_tensors, grad)  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        """Fold the runs into the batch."""
        folded = fold_runs(info.batch_size, in_dims[1:], args[1:])
        return looped(args[0], *folded).unflatten(0, (info.batch_size, -1)), 0


@final
class _Gradients(torch.autograd.Function):
    """The gradients of a program: a function of its own, so that runs are folded where a way back is itself vmapped."""

    @staticmethod
    def forward(program: Program, *tensors: Tensor) -> Tensors:
        """Run the loop of the backward pass, of the inputs, the result and its gradient."""
        *inputs, result, grad = tensors
        return program.backward(tuple(inputs), result, grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        """Keep nothing: there is no second derivative."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensors, tuple[int, ...]]:
        """Fold the runs into the batch."""
        folded = fold_runs(info.batch_size, in_dims[1:], args[1:])
        results = _Gradients.apply(args[0], *folded)  # type: ignore[no-untyped-call]
        return tuple(one.unflatten(0, (info.batch_size, -1)) for one in results), (0,) * len(results)
