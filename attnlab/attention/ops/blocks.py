"""Blocks of queries: the scores of a few rows at a time, computed again in the backward pass.

    y[a:b] = attend(q[a:b], k[:b], v[:b])        for one block of queries a..b after another

Memory grows with the length and not with its square, and keys after the last query of a block are never multiplied.
Autograd keeps the inputs alone; the backward pass computes each block a second time and differentiates it.

Letters  B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from attnlab.differentiation import differentiable_once
from attnlab.tensors import QKV

Attend = Callable[[QKV], Tensor]

PREFIXES = 16
"""Lengths of keys that blocks have: few, so that the memory of one block is used again for the next."""


def prefix_rows(qkv: QKV, first: int, last: int) -> QKV:
    """Take a block of queries, with the keys up to its last query, and at most a sixteenth of all keys more.

    Args:
        qkv: Queries, keys and values of all tokens, or of the last ones; further tensors have the tokens as their last
            axis but one.
        first: The first query of the block, counted in ``qkv``.
        last: The query after the block.

    Returns:
        The block; later keys could not change its outputs.
    """
    keys = qkv.keys_BHSC.shape[-2]
    step = -(-keys // PREFIXES)
    end = min(keys, -(-(qkv.start + last) // step) * step)
    return QKV(
        qkv.queries_BHTC[..., first:last, :],
        qkv.keys_BHSC[..., :end, :],
        qkv.values_BHSC[..., :end, :],
        tuple(tensor[..., :end, :] for tensor in qkv.extra),
        qkv.start + first,
    )


def attend_in_blocks(attend: Attend, qkv: QKV, rows: int) -> Tensor:
    """Attend a block of queries at a time, where no gradient is recorded.

    Args:
        attend: Weighted sums of the values for one block.
        qkv: Queries, keys and values.
        rows: Queries of a block.

    Returns:
        B x H x T x C.
    """
    queries = qkv.queries_BHTC.shape[-2]
    return _joined((attend(prefix_rows(qkv, *block)) for block in _blocks(queries, rows)), queries)


def recompute_in_blocks(module: nn.Module, unused: Sequence[str], qkv: QKV, rows: int) -> Tensor:
    """Attend a block of queries at a time; the backward pass computes each block again.

    Args:
        module: Its forward pass maps a block of queries, with the keys up to it, to the weighted sums of the values.
        unused: Beginnings of the names of parameters that the module's forward pass does not use.
        qkv: Queries, keys and values.
        rows: Queries of a block.

    Returns:
        B x H x T x C.
    """
    parameters = {name: one for name, one in module.named_parameters() if not name.startswith(tuple(unused))}
    names = tuple(parameters), tuple(dict(module.named_buffers()))
    program = _Program(module, qkv.start, rows, len(qkv.extra), *names, _random_state(qkv.queries_BHTC.device))
    tensors = *qkv[:3], *qkv.extra, *parameters.values(), *module.buffers()
    mixed: Tensor = _Recomputed.apply(program, *tensors)  # type: ignore[no-untyped-call]
    return mixed


def _blocks(queries: int, rows: int) -> Iterator[tuple[int, int]]:
    """The first and the last query of each block."""
    return ((first, min(first + rows, queries)) for first in range(0, queries, rows))


def _joined(blocks: Iterator[Tensor], queries: int) -> Tensor:
    """The outputs of all blocks, each written to its place before the next one is computed.

    Outputs that are kept one by one lie between the freed scores of their blocks, which then fit no larger block.
    """
    first = next(blocks)
    last = first.shape[-2]
    if last == queries:
        return first
    joined = first.new_zeros(*first.shape[:-2], queries, first.shape[-1])
    joined[..., :last, :] = first
    for block in blocks:
        joined[..., last : last + block.shape[-2], :] = block
        last += block.shape[-2]
    return joined


def _random_state(device: torch.device) -> Tensor:
    """The state of the generator from which modules draw on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    """Set the state of that generator."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@final
@dataclass(frozen=True)
class _Program:
    """What is computed for each block, of tensors in one order: queries, keys, values, extra, parameters, buffers.

    Parameters and buffers are given, since the module's own may be others by the time of the backward pass: those of
    one of several vmapped runs, or copies in another precision.
    """

    module: nn.Module
    start: int
    rows: int
    extra: int
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    random: Tensor
    """The state of the generator before the first block; dropout in the weights is drawn again."""

    def parts(self, tensors: Sequence[Tensor], first: int, last: int) -> tuple[Tensor, ...]:
        """The tensors that a block reads."""
        block = prefix_rows(self.qkv(tensors), first, last)
        return *block[:3], *block.extra, *tensors[3 + self.extra :]

    def qkv(self, tensors: Sequence[Tensor]) -> QKV:
        """Queries, keys, values and extra."""
        queries, keys, values, *others = tensors
        return QKV(queries, keys, values, tuple(others[: self.extra]), self.start)

    def attend(self, first: int, buffers: Sequence[Tensor], *parts: Tensor) -> Tensor:
        """The weighted sums of a block."""
        tokens = 3 + self.extra
        state = zip((*self.parameters, *self.buffers), (*parts[tokens:], *buffers), strict=True)
        qkv = self.qkv(parts)._replace(start=self.start + first)
        mixed: Tensor = functional_call(self.module, dict(state), (qkv,))
        return mixed


@final
class _Recomputed(torch.autograd.Function):
    """Weighted sums of the values; the backward pass computes them again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(program: _Program, *tensors: Tensor) -> Tensor:
        """Attend the blocks one after another."""
        blocks = _blocks(tensors[0].shape[-2], program.rows)
        count = len(tensors) - len(program.buffers)
        parts = ((first, program.parts(tensors, first, last)) for first, last in blocks)
        mixed = (program.attend(first, part[count:], *part[:count]) for first, part in parts)
        return _joined(mixed, tensors[0].shape[-2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.program = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_BHTC: Tensor) -> tuple[Tensor | None, ...]:
        """Attend each block again, and add its gradients up."""
        program: _Program = ctx.program
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        count = len(tensors) - len(program.buffers)
        tokens = 3 + program.extra
        totals = [torch.zeros_like(tensor) for tensor in tensors[:count]]
        now = _random_state(grad_BHTC.device)
        _set_random_state(program.random, grad_BHTC.device)
        for first, last in _blocks(grad_BHTC.shape[-2], program.rows):
            parts = program.parts(tensors, first, last)
            _, pull, *_ = vjp(partial(program.attend, first, parts[count:]), *parts[:count])
            grads = pull(grad_BHTC[..., first:last, :])
            for total, grad in zip(program.parts(totals, first, last)[:tokens], grads[:tokens], strict=True):
                total += grad
            totals[tokens:] = [total + grad for total, grad in zip(totals[tokens:], grads[tokens:], strict=True)]
        _set_random_state(now, grad_BHTC.device)
        return None, *totals, *[None] * len(program.buffers)
