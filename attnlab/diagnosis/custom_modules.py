"""The diagnosis of any PyTorch module: by its own trace, or by what forward hooks see of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._default_loss import loss_of
from attnlab.diagnosis._labeled_matrices import (
    LabeledMatrices,
    Layer,
    Quantity,
    inapplicable_note,
    label_note,
    labeled_matrices,
    measure_labeled,
    merge_matrices,
    reason_against,
)
from attnlab.diagnosis._measuring import MetricValues, labeled_metric_values, make_panel, metric_values
from attnlab.diagnosis._model_inputs import call_model, checked_inputs, main_input
from attnlab.diagnosis._observed_model import observe
from attnlab.diagnosis._parameter_roles import name_parameters, skipped_notes
from attnlab.diagnosis.diagnose import attention_map_of, labeled_map_of, parse_kind
from attnlab.diagnosis.quantities import requested_metrics
from attnlab.diagnosis.result import AttentionMap, Diagnosis
from attnlab.errors import InvalidValueError, PluginError
from attnlab.metrics.gradients import FusedPart, WeightGroup, gradients, query_to_value, weight_groups
from attnlab.metrics.measure import measure_trace
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS, Metric, Point
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import Transformer
from attnlab.tensors import ActivationTrace

ONE_BATCH = "noise is measured between batches, and there is one"
TRACE_METHOD = """\
def trace(self, inputs):
    residual, scores, weights = ...  # tuples: B x T x D before and after every layer; per layer (B x H x T x T,) or ()
    return attnlab.tensors.ActivationTrace(residual, scores, weights)"""


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
    notes: list[str] = []
    has_loss = loss is not None or targets is not None or (are_tokens and isinstance(module, Transformer))
    if parsed == "gradients" and has_loss:
        closure, words = loss_of(module, inputs, loss, targets)
        found, notes = _loss_gradients(module, closure, ())
        measured |= found
        notes = [f"Gradients of {words}.", *notes]
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
    observed = observe(module, inputs, kind)
    if observed is None:
        problem = f"'{label}' has no blocks that are recognized: no modules in it map a stream to its own shape."
        looked = (
            "Looked for: items of a ModuleList or Sequential, or modules of one parent, from B x T x D to B x T x D."
        )
        raise InvalidValueError(problem, f"{looked}\nOr add this method to it:\n{TRACE_METHOD}", where="diagnose")
    sequences = main_input(inputs)
    inputs_BT = None if sequences.is_floating_point() else sequences
    residual_BTD, notes = observed.blocks.residual_BTD, list(observed.notes)
    trace = ActivationTrace(residual_BTD, (), ())
    on_stream = [metric for metric in metrics if metric.name in METRICS and metric.point is Point.RESIDUAL]
    values = measure_trace(trace, on_stream, (), inputs_BT)
    measured = {Quantity(name): metric_values(layers) for name, layers in values.items()}
    matrices, skipped = labeled_matrices(observed.layers, kind)
    for one in matrices:
        measured |= labeled_metric_values(one.label, measure_labeled(one, metrics, inputs_BT))
        notes += [label_note(one, _width(observed.layers, one))] if _is_used(one, measured) else []
    notes += skipped
    if kind == "gradients":
        closure, words = loss_of(module, inputs, loss, targets)
        found, of_names = _loss_gradients(module, closure, observed.blocks.names)
        measured |= found
        notes += [f"Gradients of {words}.", *of_names]
    names = {quantity.metric for quantity in measured}
    missing = [metric for metric in metrics if metric.name not in names]
    matrix_label = matrices[-1].label if matrices else ""
    reasons = {metric.name: _reason(metric, matrix_label, inputs_BT) for metric in missing}
    _refuse_missing(only, measured, label, kind, has_loss=True, reasons=reasons)
    note = inapplicable_note(reasons)
    notes += [note[0].upper() + note[1:]] if note else []
    without = [metric.name for metric in missing if not reasons[metric.name] and not metric.name.startswith("extra")]
    notes += [f"Not measurable: {', '.join(without)}."] if without else []
    maps: tuple[AttentionMap, ...] = ()
    if attention_map:
        effective: list[tuple[Tensor, ...]] = [()] * len(observed.layers)
        maps = (labeled_map_of(trace, *merge_matrices(effective, matrices), label, attention_map),)
    return _diagnosis(kind, metrics, label, len(observed.blocks.names), measured, notes, maps)


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


def _loss_gradients(
    module: nn.Module, loss: Callable[[], Tensor], layers: Sequence[Sequence[str]]
) -> tuple[dict[Quantity, MetricValues], list[str]]:
    """Measure relative gradients by layer and kind: by declared roles, or by the names of parameters."""
    groups: dict[str, WeightGroup]
    fused: dict[str, tuple[FusedPart, ...]] = {}
    notes: list[str] = []
    if isinstance(module, Transformer):
        groups = weight_groups(module.parameter_roles())
    else:
        named = name_parameters(module, layers)
        groups, fused = weight_groups(named.roles), named.fused
        if fused:
            notes.append("Fused weights are read as equal parts in the order query, key, value.")
        frozen = {name: "no gradient is asked for" for name, one in module.named_parameters() if not one.requires_grad}
        notes += skipped_notes({**named.skipped, **frozen}, [name for name, _ in module.named_parameters()])
    # The recurrent kernels of cuDNN have no gradient in evaluation mode.
    with evaluation_mode(module), torch.backends.cudnn.flags(enabled=False):
        grads = gradients(module, [loss], groups, fused)
    count = max((len(layers), *(gradient.layer for gradient in grads)), default=0)

    def row(by_layer: dict[int, float]) -> MetricValues:
        values = tuple(by_layer.get(layer, float("nan")) for layer in range(1, count + 1))
        return MetricValues(values, tuple(value < FLOAT_FLOOR for value in values))

    measured: dict[Quantity, MetricValues] = {}
    for kind in dict.fromkeys(gradient.kind for gradient in grads):
        by_layer = {gradient.layer: gradient.relative for gradient in grads if gradient.kind == kind}
        measured[Quantity(f"{kind}-gradient")] = row(by_layer)
    if ratios := query_to_value(grads):
        measured[Quantity("query-to-value")] = row(ratios)
    return measured, notes


def _refuse_missing(
    only: Sequence[str],
    measured: dict[Quantity, MetricValues],
    label: str,
    kind: DiagnosisKind,
    *,
    has_loss: bool,
    reasons: dict[str, str],
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


def _reason(metric: Metric, label: str, inputs_BT: Tensor | None) -> str:
    """Tell why a metric was not measured; empty where the model has no such weights."""
    if metric.name in ("induction", "duplicate") and inputs_BT is None:
        return "it compares tokens, and embeddings are none"
    if metric.name.endswith("-noise"):
        return ONE_BATCH
    return "" if _has_role(metric) else reason_against(metric, label)


def _has_role(metric: Metric) -> bool:
    """Tell whether a metric is of a kind of weights, which some models do not have."""
    return (metric.name.endswith("-gradient") and metric.name != "scores-gradient") or metric.name == "query-to-value"


def _is_used(matrices: LabeledMatrices, measured: dict[Quantity, MetricValues]) -> bool:
    """Tell whether a metric was measured on matrices of a kind."""
    return any(quantity.label == matrices.label for quantity in measured)


def _width(layers: Sequence[Layer | None], matrices: LabeledMatrices) -> int:
    """Get the width of the modules whose matrices these are."""
    return next(
        one.x_BTD.shape[-1] for one, layer in zip(layers, matrices.layers, strict=True) if layer and one is not None
    )
