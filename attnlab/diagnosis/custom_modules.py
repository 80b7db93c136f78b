"""The diagnosis of any PyTorch module that returns an activation trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.diagnosis._measuring import MetricValues, make_panel, metric_values
from attnlab.diagnosis.diagnose import attention_map_of, parse_kind
from attnlab.diagnosis.quantities import requested_metrics
from attnlab.diagnosis.result import Diagnosis
from attnlab.errors import InvalidValueError
from attnlab.metrics.gradients import WeightGroup, gradients, weight_groups
from attnlab.metrics.measure import measure_trace
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import Transformer
from attnlab.tensors import ActivationTrace

ATTENTION_KINDS = ("query", "key", "value", "output", "out_proj")
TRACE_METHOD = """\
def trace(self, inputs):
    residual, scores, weights = ...  # tuples: B x T x D before and after every layer; per layer (B x H x T x T,) or ()
    return attnlab.tensors.ActivationTrace(residual, scores, weights)"""


def diagnose_module(
    module: nn.Module,
    kind: str,
    inputs: Any,
    *,
    loss: Callable[[], Tensor] | None = None,
    only: Sequence[str] = (),
    attention_map: str = "",
) -> Diagnosis:
    """Measure a module by its trace, and by the gradients of a loss.

    Args:
        module: A module that returns an :class:`attnlab.tensors.ActivationTrace` or has a method ``trace`` that does;
            or a model of attnlab.
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        inputs: The input of the module.
        loss: For gradients, a closure that runs the module and returns a scalar; None leaves them out.
        only: Metrics; none takes all of the kind.
        attention_map: A head to return the attention map of, as ``LAYER.HEAD``; empty returns none.

    Returns:
        One panel per metric, and the map.

    Raises:
        InvalidValueError: There are no inputs, the module returns no trace, a metric of ``only`` cannot be measured, or
            the head does not exist.
        UnknownNameError: The kind or a metric does not exist.
    """
    parsed = parse_kind(kind)
    metrics = requested_metrics(parsed, tuple(only))
    trace = _trace_of(module, inputs)
    are_tokens = isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.ndim == 2
    trace_metrics = [metric for metric in metrics if metric.name in METRICS]
    values = measure_trace(trace, trace_metrics, (), inputs if are_tokens else None)
    measured = {name: metric_values(layers) for name, layers in values.items() if layers}
    if parsed == "gradients" and loss is not None:
        measured |= _loss_gradients(module, loss)
    label = type(module).__name__
    if missing := [name for name in only if name not in measured]:
        hint = f"Metrics of it: {', '.join(measured) or 'none of this kind'}."
        if parsed == "gradients" and loss is None:
            hint = "Gradients need a loss: diagnose(module, 'gradients', inputs=..., loss=lambda: ...)."
        raise InvalidValueError(f"'{missing[0]}' cannot be measured of '{label}'.", hint, where="only")
    panels = [make_panel(metric, {label: [measured[metric.name]]}) for metric in metrics if metric.name in measured]
    maps = (attention_map_of(trace, label, attention_map),) if attention_map else ()
    layers = max(len(trace.residual_BTD) - 1, len(trace.weights_BHTS))
    return Diagnosis(parsed, f"{label}, {layers} layers, with its present weights", tuple(panels), (), maps)


def _trace_of(module: nn.Module, inputs: Any) -> ActivationTrace:
    """Run a module without gradients and get its trace; the error for a module without one has the lines to add."""
    if inputs is None:
        raise InvalidValueError(
            "A module is measured on inputs, and there are none.", "Give inputs=...", where="diagnose"
        )
    with torch.no_grad(), evaluation_mode(module):
        if isinstance(module, Transformer):
            positions = torch.arange(inputs.numel(), device=inputs.device)
            return module(inputs, positions, trace=True).trace[0]
        method = getattr(module, "trace", None)
        output = method(inputs) if callable(method) else module(inputs)
    if isinstance(output, tuple) and not isinstance(output, ActivationTrace):
        output = next((part for part in output if isinstance(part, ActivationTrace)), output)
    if not isinstance(output, ActivationTrace):
        problem = f"'{type(module).__name__}' returns no trace."
        raise InvalidValueError(problem, f"Add this method to it:\n{TRACE_METHOD}", where="diagnose")
    return output


def _loss_gradients(module: nn.Module, loss: Callable[[], Tensor]) -> dict[str, MetricValues]:
    """Measure relative gradients by layer and kind: by declared roles, or by a guess from names in custom modules."""
    if isinstance(module, Transformer):
        groups = weight_groups(module.parameter_roles())
    else:
        guesses = {name: guess_layer_and_kind(name) for name, _ in module.named_parameters()}
        groups = {name: guess for name, guess in guesses.items() if guess is not None}
    with evaluation_mode(module):
        grads = gradients(module, [loss], groups)
    layers = range(1, max((gradient.layer for gradient in grads), default=0) + 1)
    measured: dict[str, MetricValues] = {}
    for kind in dict.fromkeys(gradient.kind for gradient in grads):
        by_layer = {gradient.layer: gradient.relative for gradient in grads if gradient.kind == kind}
        values = tuple(by_layer.get(layer, float("nan")) for layer in layers)
        measured[f"{kind}-gradient"] = MetricValues(values, tuple(value < FLOAT_FLOOR for value in values))
    return measured


def guess_layer_and_kind(name: str) -> WeightGroup | None:
    """Guess layer and kind of a parameter of a custom module, which declares no role, from its name.

    The layer is the first number in the name. The kind is a word of the name.

    >>> guess_layer_and_kind("layers.3.self_attn.q_proj.weight"), guess_layer_and_kind("h.0.mlp.c_fc.weight")
    ((4, 'query'), (1, 'mlp'))
    >>> guess_layer_and_kind("head.weight")

    Args:
        name: The name of the parameter.

    Returns:
        The layer, from 1, and the kind; None if either is missing.
    """
    match name.split("."):
        case ["blocks", layer_word, "mlp", *_]:
            return int(layer_word) + 1, "mlp"
        case ["blocks", layer_word, "attention", *rest] if rest[1:] != ["weight"] or rest[0] not in ATTENTION_KINDS:
            return int(layer_word) + 1, "extra"
    words = name.lower().split(".")
    layer = next((int(word) for word in words if word.isdigit()), None)
    if layer is None or words[-1] != "weight":
        return None
    kinds_by_prefix = {"q": "query", "k": "key", "v": "value", "o": "output", "out": "output"}
    kinds = ("query", "key", "value", "output", "mlp")
    for word in words:
        prefix = word.partition("_")[0]
        if word in kinds or (word.endswith("proj") and prefix in kinds_by_prefix):
            return layer + 1, word if word in kinds else kinds_by_prefix[prefix]
    return None
