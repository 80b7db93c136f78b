"""The inputs of any model: checked, moved to its device, and given to it.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.plugins import plugin_error

INTEGERS = (torch.int64, torch.int32)
"""Types of tokens that an embedding of torch takes."""


def checked_inputs(inputs: Any, module: nn.Module) -> Any:
    """Check the inputs of a model, and move them to its device.

    Args:
        inputs: Tokens B x T, embeddings B x T x D, or a tuple or mapping of arguments that begins with such.
        module: The model.

    Returns:
        The inputs.

    Raises:
        InvalidValueError: They are of another type or shape.
    """
    device = next((one.device for one in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    if isinstance(inputs, Mapping):
        main_input(inputs)
        return {name: one.to(device) if isinstance(one, Tensor) else one for name, one in inputs.items()}
    if isinstance(inputs, tuple):
        main_input(inputs)
        return tuple(one.to(device) if isinstance(one, Tensor) else one for one in inputs)
    if not isinstance(inputs, Tensor):
        try:
            inputs = torch.as_tensor(inputs)
        except (TypeError, ValueError, RuntimeError):
            problem = f"Inputs of type {type(inputs).__name__} are no tensor."
            raise InvalidValueError(problem, "Give tokens, an integer tensor B x T.", where="inputs") from None
    main_input(inputs)
    return inputs.to(device)


def main_input(inputs: Any) -> Tensor:
    """Get the sequences among the inputs of a model.

    Args:
        inputs: A tensor, or arguments.

    Returns:
        Tokens B x T, or embeddings B x T x D.

    Raises:
        InvalidValueError: There are none, of a type and shape that a model takes.
    """
    values = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else (inputs,)
    first = next((one for one in values if isinstance(one, Tensor)), None)
    accepted = "Accepted are integer tokens, B x T, or embeddings in floating point, B x T x D"
    if first is None:
        raise InvalidValueError("There is no tensor among the inputs.", f"{accepted}.", where="inputs")
    kind, shape = str(first.dtype).removeprefix("torch."), " x ".join(map(str, first.shape)) or "one number"
    if first.is_floating_point() and first.ndim == 2:
        problem = f"Tokens of type {kind} are no tokens: {shape}."
        raise InvalidValueError(problem, f"{accepted}: tokens.long().", where="inputs")
    if first.dtype not in INTEGERS and not first.is_floating_point():
        problem = f"Inputs of type {kind} are neither int64 nor int32 tokens, nor embeddings: {shape}."
        raise InvalidValueError(problem, f"{accepted}: tokens.long().", where="inputs")
    if first.ndim != (3 if first.is_floating_point() else 2):
        more = ": tokens[None] is a batch of one" if first.ndim == 1 else ""
        raise InvalidValueError(f"Inputs of type {kind} have the shape {shape}.", f"{accepted}{more}.", where="inputs")
    if not first.numel():
        raise InvalidValueError(f"Inputs of shape {shape} are empty.", f"{accepted}.", where="inputs")
    return first


def call_model(module: nn.Module, inputs: Any) -> Any:
    """Run a model on its inputs.

    Args:
        module: The model.
        inputs: One argument, or a tuple or mapping of arguments.

    Returns:
        What the model returns.

    Raises:
        PluginError: The model fails; the message has its error and the line of its code.
    """
    try:
        if isinstance(inputs, Mapping):
            return module(**inputs)
        return module(*inputs) if isinstance(inputs, tuple) else module(inputs)
    except AttnlabError:
        raise
    except Exception as error:
        raise plugin_error(f"{type(module).__name__}.forward", error) from error
