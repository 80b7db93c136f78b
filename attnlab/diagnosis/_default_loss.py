"""The loss of a model whose gradients are asked for: given, or next-token cross-entropy on its logits.

Letters  B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.ops.returned_weights import tensors_in
from attnlab.diagnosis._model_inputs import call_model, main_input
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.model.transformer import Transformer
from attnlab.plugins import plugin_error

GIVE_LOSS = "Give loss=, a function of the model's output that returns a scalar, or targets=, the classes B x T."


def loss_of(
    module: nn.Module, inputs: Any, loss: Callable[..., Tensor] | None, targets: Tensor | None
) -> tuple[Callable[[], Tensor], str]:
    """Make the loss of a model a closure.

    Args:
        module: The model.
        inputs: Its inputs, checked.
        loss: A closure without arguments, or a function of the model's output; None takes cross-entropy.
        targets: The classes, B x T, -100 where there is none; None takes the next token of the inputs.

    Returns:
        The closure, and the loss in words.

    Raises:
        InvalidValueError: Both are given, or there is no loss for such inputs.
    """
    if loss is not None and targets is not None:
        raise InvalidValueError("There is a loss, and there are targets.", "Leave one of them out.", where="targets")
    if loss is not None:
        return _given(module, inputs, loss), "the given loss"
    tokens = main_input(inputs)
    if targets is None and tokens.is_floating_point():
        raise InvalidValueError("Gradients need a loss, and embeddings have no next token.", GIVE_LOSS, where="loss")
    if targets is None and tokens.shape[1] < 2:
        raise InvalidValueError("A sequence of one token has no next token.", GIVE_LOSS, where="loss")
    if targets is not None and targets.is_floating_point():
        kind = str(targets.dtype).removeprefix("torch.")
        raise InvalidValueError(f"Targets of type {kind} are no classes.", GIVE_LOSS, where="targets")

    def cross_entropy() -> Tensor:
        logits_NV = _logits(module, inputs, tokens)
        classes_N = (tokens if targets is None else targets.to(tokens.device)).flatten().long()
        if targets is None:
            # Every token but the last of a sequence predicts the next one.
            classes_N = functional.pad(tokens[:, 1:].long(), (0, 1), value=-100).flatten()
        if len(classes_N) != len(logits_NV):
            problem = f"There are {len(classes_N)} targets for {len(logits_NV)} predictions."
            raise InvalidValueError(problem, GIVE_LOSS, where="targets")
        if (largest := int(classes_N.max())) >= logits_NV.shape[1]:
            problem = f"The model has {logits_NV.shape[1]} classes, and a target is {largest}."
            raise InvalidValueError(problem, GIVE_LOSS, where="loss")
        return functional.cross_entropy(logits_NV, classes_N)

    return cross_entropy, "next-token cross-entropy" if targets is None else "cross-entropy at the targets"


def _logits(module: nn.Module, inputs: Any, tokens: Tensor) -> Tensor:
    """Run a model and find its logits: N x V."""
    if isinstance(module, Transformer):
        positions = torch.arange(tokens.numel(), device=tokens.device)
        logits_NV: Tensor = module(inputs, positions).logits_NV
        return logits_NV
    output = call_model(module, inputs)
    tensors = list(tensors_in(output))
    first = next((one for name, one in tensors if name == "logits"), tensors[0][1] if tensors else None)
    found = "nothing" if first is None else " x ".join(map(str, first.shape)) or "one number"
    batch, length = tokens.shape[:2]
    if first is None or not first.is_floating_point() or first.ndim not in (2, 3):
        raise InvalidValueError(f"The model returns {found}, not logits B x T x V.", GIVE_LOSS, where="loss")
    if first.ndim == 3 and first.shape[:2] == (length, batch) != (batch, length):
        first = first.transpose(0, 1)
    return first.flatten(0, -2)


def _given(module: nn.Module, inputs: Any, loss: Callable[..., Any]) -> Callable[[], Tensor]:
    """Make a given loss a closure, with its errors told in one block."""
    try:
        parameters = inspect.signature(loss).parameters.values()
        takes_output = any(
            one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
            for one in parameters
        )
    except (TypeError, ValueError):
        takes_output = False

    def checked() -> Tensor:
        try:
            value = loss(call_model(module, inputs)) if takes_output else loss()
        except AttnlabError:
            raise
        except Exception as error:
            raise plugin_error("loss", error) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = " x ".join(map(str, value.shape)) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidValueError(f"The loss returns {found}, not a scalar.", GIVE_LOSS, where="loss")
        if not value.requires_grad:
            raise InvalidValueError("The loss has no gradient.", "Compute it from the model's output.", where="loss")
        return value.squeeze()

    return checked
