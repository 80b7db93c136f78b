"""Anyone's module, by the trace it gives: what can be measured without knowing what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.diagnosis._measuring import MetricValues, metric_values, panel
from attnlab.diagnosis.diagnose import drawn_at, kind_of
from attnlab.diagnosis.quantities import requested_metrics
from attnlab.diagnosis.result import Diagnosis, Map
from attnlab.errors import InvalidValueError
from attnlab.metrics.gradients import WeightGroup, gradients, weight_groups
from attnlab.metrics.measure import measured
from attnlab.metrics.metric import FLOOR, METRICS
from attnlab.model.transformer import Transformer
from attnlab.tensors import ActivationTrace

ATTENTION_KINDS = ("query", "key", "value", "output", "out_proj")
NEEDED = """\
def trace(self, inputs):
    streams, scores, weights = ...  # tuples: B x T x D before and after every layer; per layer (B x H x T x T,) or ()
    return attnlab.tensors.ActivationTrace(streams, scores, weights)"""


def diagnose_module(
    module: nn.Module,
    kind: str,
    inputs: Any,
    *,
    loss: Callable[[], Tensor] | None = None,
    only: Sequence[str] = (),
    at: str = "",
) -> Diagnosis:
    """Measure a module: what it traces, and the gradient of a loss.

    Args:
        module: One whose forward returns a :class:`attnlab.tensors.ActivationTrace`, or that has a method ``trace``; or ours.
        kind: The diagnosis.
        inputs: What it is given.
        loss: For gradients, a closure that runs the module and returns a scalar.
        only: Metrics; none tells all.
        at: A head to draw the map of, as ``LAYER.HEAD``.

    Raises:
        InvalidValueError: the module gives no trace, or nothing that was asked for can be measured.
        UnknownNameError: no such diagnosis or metric.
    """
    named = kind_of(kind)
    metrics = requested_metrics(named, tuple(only))
    trace = trace_of(module, inputs)
    tokens = inputs if isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.ndim == 2 else None
    readings = measured(trace, [metric for metric in metrics if metric.name in METRICS], (), tokens)
    result = {name: metric_values(one) for name, one in readings.items() if one}
    if named == "gradients" and loss is not None:
        result |= loss_gradients(module, loss)
    label = type(module).__name__
    panels = [panel(metric, {label: [result[metric.name]]}) for metric in metrics if metric.name in result]
    if only and (silent := [name for name in only if name not in result]):
        hint = f"What it has: {', '.join(result) or 'nothing of this kind'}."
        if named == "gradients" and loss is None:
            hint = "Gradients need a loss: diagnose(module, 'gradients', inputs=..., loss=lambda: ...)."
        raise InvalidValueError(f"'{label}' has nothing to measure '{silent[0]}' of.", hint, where="only")
    maps: tuple[Map, ...] = (drawn_at(trace, label, at),) if at else ()
    layers = max(len(trace.residual_BTD) - 1, len(trace.weights_BHTS))
    return Diagnosis(named, f"{label}, {layers} layers, as it is", tuple(panels), (), maps)


def trace_of(module: nn.Module, inputs: Any) -> ActivationTrace:
    """What the module shows of itself, without gradients.

    Raises:
        InvalidValueError: it shows nothing; says the lines it needs.
    """
    if inputs is None:
        raise InvalidValueError(
            "A module is measured on inputs, and none were given.", "Write inputs=...", where="diagnose"
        )
    with torch.no_grad():
        if isinstance(module, Transformer):
            positions = torch.arange(inputs.numel(), device=inputs.device)
            return module(inputs, positions, trace=True).trace[0]
        own = getattr(module, "trace", None)
        result = own(inputs) if callable(own) else module(inputs)
    if isinstance(result, tuple) and not isinstance(result, ActivationTrace):
        result = next((one for one in result if isinstance(one, ActivationTrace)), result)
    if not isinstance(result, ActivationTrace):
        raise InvalidValueError(
            f"'{type(module).__name__}' returns no trace.", f"Give it these lines:\n{NEEDED}", where="diagnose"
        )
    return result


def loss_gradients(module: nn.Module, loss: Callable[[], Tensor]) -> dict[str, MetricValues]:
    """Relative gradients by layer and kind: by the declared roles of our models, by a guess from the names of others."""
    if isinstance(module, Transformer):
        groups = weight_groups(module.parameter_roles())
    else:
        guesses = {name: guess_layer_and_kind(name) for name, _ in module.named_parameters()}
        groups = {name: guess for name, guess in guesses.items() if guess is not None}
    grads = gradients(module, [loss], groups)
    layers = range(1, max((one.layer for one in grads), default=0) + 1)
    rows: dict[str, MetricValues] = {}
    for kind in dict.fromkeys(one.kind for one in grads):
        values = {one.layer: one.relative for one in grads if one.kind == kind}
        row = tuple(values.get(layer, float("nan")) for layer in layers)
        rows[f"{kind}-gradient"] = MetricValues(row, tuple(value < FLOOR for value in row))
    return rows


def guess_layer_and_kind(name: str) -> WeightGroup | None:
    """Guess layer and kind of a foreign module's parameter, which declares no role, from its name.

    The layer is the first number in the name. The kind is a word of the name.

    >>> guess_layer_and_kind("layers.3.self_attn.q_proj.weight"), guess_layer_and_kind("h.0.mlp.c_fc.weight"), guess_layer_and_kind("head.weight")
    ((4, 'query'), (1, 'mlp'), None)
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
    uses = {"q": "query", "k": "key", "v": "value", "o": "output", "out": "output"}
    kinds = ("query", "key", "value", "output", "mlp")
    for word in words:
        start = word.partition("_")[0]
        if word in kinds or (word.endswith("proj") and start in uses):
            return layer + 1, word if word in kinds else uses[start]
    return None
