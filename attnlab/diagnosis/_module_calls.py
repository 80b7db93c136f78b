"""The calls of the modules of any model, taken by forward hooks: their order, and the streams they read and write.

A stream is a tensor of numbers with one vector per token. It may lie as B x T x D, T x B x D, B x D x T, or N x D with
N = B T; it is recorded as B x T x D.

Letters  B batch, T tokens, D width, N tokens of all sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from attnlab.attention.ops.returned_weights import tensors_in

Axes = Literal["BTD", "TBD", "BDT", "ND"]


class Sizes(NamedTuple):
    """The sequences that a model is run on; B and T differ, so that no axis is taken for the other."""

    batch: int
    tokens: int


@dataclass
class ModuleCall:
    """One call of a module."""

    name: str
    module: nn.Module
    start: int
    """When it began, counted over all calls."""
    end: int = -1
    """When it ended; -1 where it raised."""
    read_shape: tuple[int, ...] | None = None
    """B, T and D of the stream among its arguments; None where it has none."""
    maps_stream: bool = False
    """Whether its output has the shape of that stream."""
    read_BTD: Tensor | None = None
    """The stream it read, a copy; None where it was not asked for."""
    written_BTD: Tensor | None = None
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] | None = None
    """Its arguments, where they were asked for."""
    is_copied: bool = True
    """Whether its arguments are copies, in the state before the call."""
    returned: Any = None


def axes_of(tensor: Tensor, sizes: Sizes) -> Axes | None:
    """Tell which axes of a tensor are batch and tokens.

    Args:
        tensor: Any tensor.
        sizes: B and T.

    Returns:
        The order of the axes; None where the tensor is no stream.
    """
    if not tensor.is_floating_point():
        return None
    shape = tuple(tensor.shape)
    if len(shape) == 2 and shape[0] == sizes.batch * sizes.tokens:
        return "ND"
    if len(shape) != 3:
        return None
    orders: dict[tuple[int, int], Axes] = {shape[:2]: "BTD", (shape[1], shape[0]): "TBD", (shape[0], shape[2]): "BDT"}
    return orders.get((sizes.batch, sizes.tokens)) if shape[:2] != sizes else "BTD"


def as_BTD(tensor: Tensor, axes: Axes, sizes: Sizes) -> Tensor:
    """Give a stream its axes in order.

    Args:
        tensor: The stream.
        axes: Its axes.
        sizes: B and T.

    Returns:
        A view, B x T x D.
    """
    match axes:
        case "TBD":
            return tensor.transpose(0, 1)
        case "BDT":
            return tensor.transpose(1, 2)
        case "ND":
            return tensor.reshape(*sizes, tensor.shape[-1])
        case "BTD":
            return tensor


def find_stream(value: Any, sizes: Sizes, shape: tuple[int, ...] | None = None) -> Tensor | None:
    """Find the first stream in the arguments of a module, or in what it returned.

    Args:
        value: Arguments, or a returned value.
        sizes: B and T.
        shape: The shape B x T x D that it must have; None takes any.

    Returns:
        The stream, B x T x D; None where there is none.
    """
    for _, tensor in tensors_in(value):
        axes = axes_of(tensor, sizes)
        if axes is None:
            continue
        stream_BTD = as_BTD(tensor, axes, sizes)
        if shape is None or tuple(stream_BTD.shape) == shape:
            return stream_BTD
    return None


def copied_state(value: Any) -> Any:
    """Copy the arguments of a call, so that a state in them, such as a cache of keys, is that before the call.

    Args:
        value: Arguments.

    Returns:
        The arguments with copies of all objects but tensors and modules, which are the same ones.
    """
    memo: dict[int, Any] = {}
    nested = [value]
    while nested:
        one = nested.pop()
        if isinstance(one, Tensor | nn.Module):
            memo[id(one)] = one
        elif isinstance(one, dict):
            nested.extend(one.values())
        elif type(one) in (tuple, list):
            nested.extend(one)
    return copy.deepcopy(value, memo)


def record_calls(
    model: nn.Module,
    run: Callable[[], Any],
    sizes: Sizes,
    *,
    streams_of: Collection[str] = (),
    arguments_of: Collection[str] = (),
) -> tuple[list[ModuleCall], Any]:
    """Run a model and record the calls of its modules, in the order in which they begin.

    Args:
        model: The model.
        run: Runs it once.
        sizes: B and T.
        streams_of: Names of modules whose streams are kept.
        arguments_of: Names of modules whose arguments and returned values are kept.

    Returns:
        The calls, and what the run returned.
    """
    calls: list[ModuleCall] = []
    open_calls: list[ModuleCall] = []
    clock = iter(range(2**62))

    def begin(name: str, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        call = ModuleCall(name, module, next(clock))
        stream_BTD = find_stream((arguments, keywords), sizes)
        if stream_BTD is not None:
            call.read_shape = tuple(stream_BTD.shape)
            # A copy: a stream may be added to in place.
            call.read_BTD = stream_BTD.detach().clone() if name in streams_of else None
        if name in arguments_of:
            call.arguments, call.keywords = arguments, keywords
            try:
                call.arguments, call.keywords = copied_state((arguments, keywords))
            except Exception:  # an object may refuse to be copied
                call.is_copied = False
        calls.append(call)
        open_calls.append(call)

    def end(name: str, returned: Any) -> None:
        while open_calls[-1].name != name:  # a call that raised, and whose error was caught
            open_calls.pop()
        call = open_calls.pop()
        call.end = next(clock)
        stream_BTD = find_stream(returned, sizes, call.read_shape) if call.read_shape else None
        if stream_BTD is not None:
            call.maps_stream = True
            call.written_BTD = stream_BTD.detach().clone() if name in streams_of else None
        if name in arguments_of:
            call.returned = returned

    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            _add_hooks(hooks, name, module, begin, end)
        output = run()
    return calls, output


def _add_hooks(
    hooks: ExitStack, name: str, module: nn.Module, begin: Callable[..., None], end: Callable[..., None]
) -> None:
    """Hook one module until the stack of hooks is closed."""

    def before(hooked: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        begin(name, hooked, arguments, keywords)

    def after(_module: nn.Module, _arguments: tuple[Any, ...], returned: Any) -> None:
        end(name, returned)

    hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    hooks.callback(module.register_forward_hook(after).remove)
