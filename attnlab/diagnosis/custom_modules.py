"""The diagnosis of any PyTorch module: by its own trace, or by what forward hooks see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._attention_maps import attention_map_of
from attnlab.diagnosis._default_loss import loss_of
from attnlab.diagnosis._labeled_matrices import Quantity
from attnlab.diagnosis._measuring import MetricValues, make_panel, metric_values
from attnlab.diagnosis._model_inputs import call_model, checked_inputs
from attnlab.diagnosis._module_measuring import TRACE_METHOD, loss_gradients, measure_module
from attnlab.diagnosis.quantities import parse_kind, requested_metrics
from attnlab.diagnosis.result import AttentionMap, Diagnosis
from attnlab.errors import InvalidValueError, PluginError
from attnlab.metrics.measure import measure_trace
from attnlab.metrics.metric import METRICS, Metric
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import Transformer
from attnlab.tensors import ActivationTrace


def diagnose_module(
    module: Any,
    kind: str,
    inputs: Any,
    *,
    loss: Callable[..., Tensor] | None = None,
    targets: Tensor | None = None,
    only: Sequence[str] = (),
    attention_map: str = "",
) -> Diagnosis:
    """Measure a module on some inputs, and the gradients of a loss.

    A model of attnlab, and a module that returns an :class:`attnlab.tensors.ActivationTrace` or has a method ``trace``
    that does, are measured by their trace. Of any other module the blocks are found by forward hooks.

    Args:
        module: The module.
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        inputs: Tokens B x T, or embeddings B x T x D, or a tuple or mapping of arguments; for a module with a trace,
            whatever it takes.
        loss: For gradients, a closure that runs the module, or a function of its output; None takes the cross-entropy
            of the next token.
        targets: For gradients, the classes B x T of the logits, -100 where there is none.
        only: Metrics; none takes all of the kind.
        attention_map: A head to return the attention map of, as ``LAYER.HEAD``; empty returns none.

    Returns:
        One panel per metric and kind of matrix, notes on what was read and what was skipped, and the map.

    Raises:
        InvalidValueError: There are no inputs or they are of another type, the module has no blocks that are
            recognized, a metric of ``only`` cannot be measured, or the head does not exist.
        PluginError: The module or the loss fails.
        UnknownNameError: The kind or a metric does not exist.
    """
    parsed = parse_kind(kind)
    metrics = requested_metrics(parsed, tuple(only))
    if inputs is None:
        hint = "Give its tokens: attnlab.diagnose(model, tokens)."
        raise InvalidValueError("A module is measured on inputs, and there are none.", hint, where="diagnose")
    if not isinstance(module, nn.Module):
        problem = f"A {type(module).__name__} is no nn.Module."
        raise InvalidValueError(problem, "Give a module, a record, or the id of a run.", where="diagnose")
    module = getattr(module, "_orig_mod", module)  # hooks do not run within a compiled module
    trace = _trace_of(module, inputs)
    if trace is None:
        return _diagnose_observed(module, parsed, metrics, inputs, loss, targets, only, attention_map)
    are_tokens = isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.ndim == 2
    trace_metrics = [metric for metric in metrics if metric.name in METRICS]
    values = measure_trace(trace, trace_metrics, (), inputs if are_tokens else None)
    measured = {Quantity(name): metric_values(layers) for name, layers in values.items() if layers}
    notes: Sequence[str] = ()
    has_loss = loss is not None or targets is not None or (are_tokens and isinstance(module, Transformer))
    if parsed == "gradients" and has_loss:
        closure, words = loss_of(module, inputs, loss, targets)
        found = loss_gradients(module, (closure,), ())
        measured |= found.values
        notes = [f"Gradients of {words}.", *found.notes]
    label = type(module).__name__
    _refuse_missing(only, measured, label, parsed, has_loss=has_loss, reasons={})
    maps = (attention_map_of(trace, label, attention_map),) if attention_map else ()
    layers = max(len(trace.residual_BTD) - 1, len(trace.weights_BHTS))
    return _diagnosis(parsed, metrics, label, layers, measured, notes, maps)


def _diagnose_observed(
    module: nn.Module,
    kind: DiagnosisKind,
    metrics: Sequence[Metric],
    inputs: Any,
    loss: Callable[..., Tensor] | None,
    targets: Tensor | None,
    only: Sequence[str],
    attention_map: str,
) -> Diagnosis:
    """Measure a module by what forward hooks see of it."""
    label = type(module).__name__
    inputs = checked_inputs(inputs, module)
    losses: tuple[Callable[[], Tensor], ...] = ()
    words = ""
    if kind == "gradients":
        closure, words = loss_of(module, inputs, loss, targets)
        losses = (closure,)
    found = measure_module(module, kind, metrics, inputs, losses, words, label)
    _refuse_missing(only, found.values, label, kind, has_loss=True, reasons=found.reasons)
    maps = (found.attention_map(label, attention_map),) if attention_map else ()
    return _diagnosis(kind, metrics, label, found.layers, found.values, found.notes, maps)


def _diagnosis(
    kind: DiagnosisKind,
    metrics: Sequence[Metric],
    label: str,
    layers: int,
    measured: dict[Quantity, MetricValues],
    notes: Sequence[str],
    maps: tuple[AttentionMap, ...],
) -> Diagnosis:
    """Collect panels, the effective matrices' first."""
    labels = ("", *dict.fromkeys(quantity.label for quantity in measured if quantity.label))
    panels = [
        make_panel(metric, {label: [measured[Quantity(metric.name, matrix)]]}, matrix)
        for matrix in labels
        for metric in metrics
        if Quantity(metric.name, matrix) in measured
    ]
    count = f"{layers} layer{'' if layers == 1 else 's'}"
    return Diagnosis(kind, f"{label}, {count}, with its present weights", tuple(panels), tuple(notes), maps)


def _trace_of(module: nn.Module, inputs: Any) -> ActivationTrace | None:
    """Run a module without gradients and get its trace; None where it has none."""
    method = getattr(module, "trace", None)
    with torch.no_grad(), evaluation_mode(module):
        if isinstance(module, Transformer):
            inputs = checked_inputs(inputs, module)
            positions = torch.arange(inputs.numel(), device=inputs.device)
            return module(inputs, positions, trace=True).trace[0]
        try:
            output = method(inputs) if callable(method) else call_model(module, inputs)
        except PluginError:  # told again where the inputs have been checked
            return None
    if isinstance(output, tuple) and not isinstance(output, ActivationTrace):
        output = next((part for part in output if isinstance(part, ActivationTrace)), output)
    if isinstance(output, ActivationTrace):
        return output
    if callable(method):
        problem = f"The method 'trace' of '{type(module).__name__}' returns no trace."
        raise InvalidValueError(problem, f"It should be:\n{TRACE_METHOD}", where="diagnose")
    return None


def _refuse_missing(
    only: Sequence[str],
    measured: Mapping[Quantity, MetricValues],
    label: str,
    kind: DiagnosisKind,
    *,
    has_loss: bool,
    reasons: Mapping[str, str],
) -> None:
    """Refuse metrics that were asked for and could not be measured."""
    names = list(dict.fromkeys(quantity.metric for quantity in measured))
    missing = [name for name in only if name not in names]
    if not missing:
        return
    hint = f"Metrics of it: {', '.join(names) or 'none of this kind'}."
    if kind == "gradients" and not has_loss:
        hint = "Gradients need a loss: diagnose(module, inputs, 'gradients', loss=lambda: ...)."
    reason = f": {reasons[missing[0]]}" if reasons.get(missing[0]) else ""
    raise InvalidValueError(f"'{missing[0]}' cannot be measured of '{label}'{reason}.", hint, where="only")
