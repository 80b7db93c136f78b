"""How a module of other people is called so that it is causal: found by trying, on a few small inputs.

A module may take its input (batch, tokens, width) or (tokens, batch, width), once or as query, key and value; it may be
causal by itself, or need a mask, of which there are three conventions. A way of calling it is right if it gives an
output of the input's shape, and if no output depends on a later token of its row or on another row. Of several right
ways the first of this list is taken.

    axes     batch first, tokens first
    mask     none; -inf above the diagonal; True where a key is hidden; True where a key is allowed
    flag     ``is_causal`` or ``causal``, where the forward takes one: with the mask, or alone
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnlab.plugins import first_line

INPUTS = ("query", "key", "value", "q", "k", "v", "queries", "keys", "values")
"""Names of arguments that all take the input, where a forward asks for several."""
MASKS = ("attn_mask", "src_mask", "attention_mask", "mask", "tgt_mask", "causal_mask")
"""Names of arguments that take a mask of tokens x tokens."""
FLAGS = ("is_causal", "causal")
"""Names of arguments that make a call causal."""
TRIED = (3, 6)
"""Batch and tokens of the trial; they differ, so that no axis is taken for the other."""
BLOCKS = (16, 32, 64, 128, 256)
"""Tokens of the trials of a module that refuses the first."""
LONG = 131
"""Tokens of a trial of lengths: beyond a block, and no multiple of one."""
MaskKind = Literal["none", "additive", "hidden", "allowed"]


class NoTensorError(TypeError):
    """A module returns what is no tensor, and does not begin with one."""


@dataclass(frozen=True)
class Refusal:
    """Why a module cannot be called."""

    reason: str = ""
    """What was found, as a clause; empty where the module can be called."""
    error: Exception | None = None
    """The exception that the module raised; None where it raised none."""


@dataclass(frozen=True)
class Call:
    """A way of calling a module."""

    batch_first: bool = True
    inputs: int = 1
    """How often the input is given, by position."""
    mask: MaskKind = "none"
    mask_name: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)
    """Further arguments."""
    returns: Callable[[Any], Any] | None = None
    """Takes the output from what the module returns; None takes a tensor, or the first of several."""

    def __call__(self, module: nn.Module, x_BTD: Tensor) -> Any:
        """Call the module.

        Args:
            module: The module.
            x_BTD: The input.

        Returns:
            What the module returns.
        """
        inputs = x_BTD if self.batch_first else x_BTD.transpose(0, 1)
        keywords = dict(self.keywords)
        if self.mask != "none":
            keywords[self.mask_name] = causal(self.mask, x_BTD.shape[1], x_BTD)
        return module(*[inputs] * self.inputs, **keywords)

    def output(self, returned: Any) -> Tensor:
        """Take the output from what the module returned.

        Args:
            returned: What the module returned.

        Returns:
            B x T x D.

        Raises:
            NoTensorError: It is no tensor, and does not begin with one.
        """
        returned = self.returns(returned) if self.returns else returned
        first = returned[0] if isinstance(returned, tuple | list) and returned else returned
        if not isinstance(first, Tensor):
            first = getattr(returned, "last_hidden_state", first)
        if not isinstance(first, Tensor):
            found = "None" if returned is None else f"a {type(returned).__name__}"
            raise NoTensorError(f"it returns {found}, which does not begin with a tensor")
        return first if self.batch_first or first.ndim < 2 else first.transpose(0, 1)


def causal(kind: MaskKind, tokens: int, like: Tensor) -> Tensor:
    """Build a causal mask.

    Args:
        kind: The convention.
        tokens: T.
        like: A tensor of the device and type of an additive mask.

    Returns:
        T x T: -inf or True where a key is hidden, or True where it is allowed.
    """
    allowed = torch.ones(tokens, tokens, dtype=torch.bool, device=like.device).tril()
    if kind == "additive":
        return torch.zeros(tokens, tokens, dtype=like.dtype, device=like.device).masked_fill(~allowed, -torch.inf)
    return allowed if kind == "allowed" else ~allowed


def calls(module: nn.Module, returns: Callable[[Any], Any] | None = None) -> Iterator[Call]:
    """List the ways in which a module might be called, the plainest first.

    Args:
        module: The module.
        returns: Takes the output from what the module returns.

    Yields:
        The ways.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    inputs = 1
    while inputs < len(positional) and _takes_input(positional[inputs]):
        inputs += 1
    mask_name = next((one.name for one in parameters if one.name in MASKS), "")
    names = {one.name for one in parameters}
    keywords = {next(name for name in FLAGS if name in names): True} if names.intersection(FLAGS) else {}
    masks: list[tuple[MaskKind, dict[str, Any]]] = [("none", {})]
    if keywords and not mask_name:
        masks.append(("none", keywords))
    kinds: tuple[MaskKind, ...] = ("additive", "hidden", "allowed") if mask_name else ()
    for kind in kinds:
        masks.append((kind, keywords))
        if keywords:
            masks.append((kind, {}))
    for batch_first, (mask, more) in itertools.product((True, False), masks):
        yield Call(batch_first, inputs, mask, mask_name, more, returns)


def choose_call(
    module: nn.Module,
    width: int,
    tokens: int,
    dtype: torch.dtype,
    returns: Callable[[Any], Any] | None = None,
) -> tuple[Call | None, Refusal]:
    """Find the first way of calling a module that is causal.

    Args:
        module: The module, in evaluation mode.
        width: D.
        tokens: T of the trial.
        dtype: Type of the inputs.
        returns: Takes the output from what the module returns.

    Returns:
        The way, and an empty refusal; or else the first way that gives an output of the right shape, and why none is
        causal; or None, and why there is no output of the right shape.
    """
    fallback: Call | None = None
    reasons: dict[str, Refusal] = {}
    for call in calls(module, returns):
        try:
            fault = _fault(module, call, width, tokens, dtype)
        except NoTensorError as error:
            fault = str(error)
        except Exception as error:
            reasons.setdefault("raises", Refusal(first_line(error), error))
            continue
        if not fault:
            return call, Refusal()
        if fault.startswith("it "):
            reasons.setdefault("shape", Refusal(fault))
        else:
            fallback = fallback or call
            reasons.setdefault("leak", Refusal(fault))
    order = ("leak",) if fallback else ("shape", "raises")
    return fallback, next((reasons[kind] for kind in order if kind in reasons), Refusal("its forward takes no input"))


def accepts(module: nn.Module, call: Call, width: int, tokens: int, block: int, dtype: torch.dtype) -> bool:
    """Tell whether a module takes a sequence that is padded to whole blocks.

    Args:
        module: The module, in evaluation mode.
        call: How it is called.
        width: D.
        tokens: T.
        block: Tokens of a block.
        dtype: Type of the inputs.

    Returns:
        Whether it gives as many outputs.
    """
    device = next((one.device for one in module.parameters()), torch.device("cpu"))
    x_BTD = torch.zeros(TRIED[0], tokens + -tokens % block, width, dtype=dtype, device=device)
    try:
        with torch.no_grad():
            return call.output(call(module, x_BTD)).shape == x_BTD.shape
    except Exception:
        return False


def _takes_input(parameter: inspect.Parameter) -> bool:
    """Whether an argument takes the input once more."""
    return parameter.default is parameter.empty and parameter.name in INPUTS


def _fault(module: nn.Module, call: Call, width: int, tokens: int, dtype: torch.dtype) -> str:
    """What is wrong with a way of calling; empty if nothing is."""
    batch = TRIED[0]
    device = next((one.device for one in module.parameters()), torch.device("cpu"))
    drawn = torch.randn(batch, tokens, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_BTD = drawn.to(device, dtype).requires_grad_()
    with torch.enable_grad():
        output_BTD = call.output(call(module, x_BTD))
    if output_BTD.shape != x_BTD.shape:
        return f"it maps {list(x_BTD.shape)} to {list(output_BTD.shape)}"
    if not output_BTD.requires_grad:
        return ""
    row, token = batch // 2, tokens // 2
    with torch.enable_grad():
        # A sum would not do: that of a layer norm's output is constant.
        projected = output_BTD[row, token].double() @ drawn[0, 0].to(device)
    gradient_BTD = _gradient(module, projected, x_BTD)
    moved_BT = gradient_BTD.abs().amax(-1)
    others = [index for index in range(batch) if index != row]
    if bool(moved_BT[others].any()):
        return "an output depends on another row of the batch"
    return "an output depends on a later token" if bool(moved_BT[row, token + 1 :].any()) else ""


def _gradient(module: nn.Module, projected: Tensor, x_BTD: Tensor) -> Tensor:
    """The gradient with respect to the input; parameters keep theirs."""
    before = {one: one.grad for one in module.parameters()}
    # Reentrant checkpoints refuse torch.autograd.grad.
    projected.backward()
    for parameter, gradient in before.items():
        parameter.grad = gradient
    return torch.zeros_like(x_BTD) if x_BTD.grad is None else x_BTD.grad
