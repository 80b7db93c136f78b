"""The attention weights that other people's modules return beside their output.

A module may return its weights always, or where an argument of its forward asks for them: ``need_weights``,
``return_attn``, ``output_attentions``. Weights are a tensor B x H x T x T, or B x T x T where heads are averaged; they
are used only where they are zero above the diagonal: scores, and weights of another length, are not. They are what
the module calls its weights, which need not be the matrix that multiplies its values.

Letters  B batch, H heads, T tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

FLAGS = (
    *("need_weights", "return_attn", "return_attention", "return_attn_weights", "return_attention_weights"),
    *("output_attentions", "output_attention", "return_weights", "return_attentions", "return_intermediates"),
)
"""Arguments of a forward that ask for the weights."""
AVERAGE_FLAG = "average_attn_weights"
"""The argument that asks for one mean over the heads."""
WEIGHT_NAMES = ("post_softmax_attn", "attn", "attention", "weights", "probs")
"""Parts of the names of weights in a mapping or an object."""
DEPTH = 4
"""Nesting in which tensors are looked for."""


def tensors_in(value: Any, depth: int = DEPTH) -> Iterator[tuple[str, Tensor]]:
    """List the tensors of what a module returned, in order.

    Args:
        value: A tensor, a tuple, a mapping or an object.
        depth: How deep to look.

    Yields:
        Name and tensor; the name is empty within a tuple.
    """
    yield from _named_tensors("", value, depth)


def _named_tensors(name: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif depth and isinstance(value, tuple | list):
        names = getattr(value, "_fields", [name] * len(value))
        for one_name, one in zip(names, value, strict=True):
            yield from _named_tensors(one_name, one, depth - 1)
    elif depth and not isinstance(value, str | type | nn.Module):
        for one_name, one in (value if isinstance(value, Mapping) else getattr(value, "__dict__", {})).items():
            yield from _named_tensors(str(one_name), one, depth - 1)


def weights_in(returned: Any, batch: int, tokens: int) -> Tensor | None:
    """Find the attention weights in what a module returned beside its output.

    Args:
        returned: What the module returned: a tuple, a mapping or an object.
        batch: B.
        tokens: T.

    Returns:
        The weights, B x H x T x T; None where there are none.
    """
    if isinstance(returned, Tensor):
        return None
    found = list(tensors_in(returned))
    # A name says more than the place; the first tensor of a tuple is the output.
    named = [one for name, one in found if any(word in name.lower() for word in WEIGHT_NAMES)]
    beside = [one for name, one in found[1:] if not name]
    for weights in (*named, *beside):
        is_matrix = weights.ndim in (3, 4) and weights.shape[0] == batch and weights.shape[-2:] == (tokens, tokens)
        if is_matrix and weights.is_floating_point() and not weights.triu(1).any():
            return weights if weights.ndim == 4 else weights[:, None]
    return None


def asking_for_weights(module: nn.Module, flag: str = "") -> dict[str, Any]:
    """Make the arguments with which a module returns its weights, one matrix per head where it may be asked.

    Args:
        module: The module.
        flag: The argument that asks; empty looks for one of those in use.

    Returns:
        Keywords of the module's forward; none where no argument asks for weights.
    """
    parameters = inspect.signature(module.forward).parameters
    found = [name for name in ((flag,) if flag else FLAGS) if name in parameters]
    average = {AVERAGE_FLAG: False} if AVERAGE_FLAG in parameters else {}
    return {found[0]: True, **average} if found else {}


@torch.no_grad()
def ask_for_weights(
    module: nn.Module,
    arguments: tuple[Any, ...],
    keywords: Mapping[str, Any],
    *,
    batch: int,
    tokens: int,
) -> Tensor | None:
    """Call a module once more, with the argument that asks for its weights.

    Args:
        module: The module.
        arguments: Its arguments by position.
        keywords: Its arguments by name.
        batch: B.
        tokens: T.

    Returns:
        The weights, B x H x T x T; None where no argument asks for them, or the call fails or returns none.
    """
    asking = asking_for_weights(module)
    if not asking:
        return None
    parameters = list(inspect.signature(module.forward).parameters)
    given = parameters[: len(arguments)]
    # An argument that was given by position cannot be given by name too.
    kept = tuple(asking.get(name, value) for name, value in zip(given, arguments, strict=False))
    extra = {name: value for name, value in asking.items() if name not in given}
    try:
        return weights_in(module(*kept, *arguments[len(kept) :], **{**keywords, **extra}), batch, tokens)
    except Exception:  # an argument of that name may mean something else; the module has run without it
        return None
