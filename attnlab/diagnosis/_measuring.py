"""The measurement of subjects: every metric averaged over sequences and heads, then over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from attnlab.attention import RowConstraint
from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._gain_control import blocks, unscaled
from attnlab.diagnosis._labeled_matrices import (
    EFFECTIVE,
    POINTS,
    SUMMARIES,
    Quantity,
    headless_layers,
    inapplicable_note,
    is_row_norms,
    label_note,
    labeled_matrices,
    measure_labeled,
    reason_against,
)
from attnlab.diagnosis._svm_alignment import svm_values
from attnlab.diagnosis.result import DecayFit, Panel, Series, Values
from attnlab.diagnosis.subjects import DiagnosisSubject
from attnlab.metrics.decay import decay
from attnlab.metrics.gradients import gradients, query_to_value, weight_groups
from attnlab.metrics.measure import LayerValue, measure_trace
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS, Metric, Point
from attnlab.metrics.reach import layers_needed, measure_reach
from attnlab.tensors import ActivationTrace

NOISE_BATCHES = 4
"""Batches that the gradient noise is measured on."""

INSIDE = (Point.BRANCH, Point.MATRIX, Point.SCORES)
"""Where a metric reads the inside of an attention."""


class MetricValues(NamedTuple):
    """One metric of one subject, per layer."""

    values: Values
    below: tuple[bool, ...]
    heads: tuple[Values, ...] = ()


class Measured(NamedTuple):
    """What was measured of one subject."""

    values: dict[Quantity, MetricValues]
    notes: tuple[str, ...]
    """How labeled matrices were made, and what does not apply to a module without heads, with the reasons."""
    labels: tuple[str, ...]
    """The kinds of matrices that stand in place of effective ones."""
    is_headless: bool
    """Whether a layer has a module of its own, without an effective matrix."""


def measure_subject(kind: DiagnosisKind, subject: DiagnosisSubject, metrics: Sequence[Metric]) -> Measured:
    """Measure each metric of one subject, on effective matrices and on those of each other kind.

    A metric that does not apply is left out.
    """
    plain = {Quantity(name): values for name, values in _measure_plain(subject, metrics).items()}
    attentions = [unscaled(block.attention) for block in blocks(subject.model)]
    if all(attention.has_heads for attention in attentions):
        return Measured(plain, (), (), is_headless=False)
    if not any(attention.has_heads for attention in attentions):
        inside = {metric.name for metric in metrics if metric.point in INSIDE}
        plain = {quantity: values for quantity, values in plain.items() if quantity.metric not in inside}
        plain = {quantity: one for quantity, one in plain.items() if not all(map(math.isnan, one.values))}
    matrices, skipped = labeled_matrices(headless_layers(subject.model, subject.trace()), kind)
    labeled: dict[Quantity, MetricValues] = {}
    inputs_BT = subject.batches(0).inputs_BT
    for one in matrices:
        labeled |= labeled_metric_values(one.label, measure_labeled(one, metrics, inputs_BT))
    used = tuple(label for label in dict.fromkeys(quantity.label for quantity in labeled))
    notes = [label_note(one, subject.model.spec.width) for one in matrices if one.label in used]
    missing = [metric for metric in metrics if metric.name not in {one.metric for one in (*plain, *labeled)}]
    missing = [metric for metric in missing if not metric.name.startswith("extra")]
    label = matrices[-1].label if matrices else ""
    note = inapplicable_note({metric.name: reason_against(metric, label) for metric in missing})
    return Measured(plain | labeled, (*notes, *skipped, *([note] if note else [])), used, is_headless=True)


def _measure_plain(subject: DiagnosisSubject, metrics: Sequence[Metric]) -> dict[str, MetricValues]:
    """Measure each metric of one subject, on effective matrices alone."""
    names = {metric.name for metric in metrics}
    trace_metrics = [metric for metric in metrics if metric.name in METRICS]
    needs_reach = bool(names & {"reach", "keys"})
    needs_svm = any(name.startswith(("svm-", "weight-")) for name in names)
    measured: dict[str, MetricValues] = {}
    trace = subject.trace() if trace_metrics or needs_reach or needs_svm else None
    if trace is not None:
        constraints = tuple(unscaled(block.attention).row_constraint for block in blocks(subject.model))
        measured |= trace_values(trace, trace_metrics, constraints, subject)
    if trace is not None and needs_reach and all(trace.weights_BHTS):
        weights = [layer[0] for layer in trace.weights_BHTS]
        reaches = measure_reach(weights, residual=subject.model.spec.residual)
        measured["reach"] = layer_values([reach.share for reach in reaches])
        measured["keys"] = layer_values([reach.keys for reach in reaches])
    if trace is not None and needs_svm and all(trace.weights_BHTS):
        measured |= {name: head_values(layers) for name, layers in svm_values(subject.model, trace).items()}
    if any(_is_gradient(name) for name in names):
        needs_noise = any(name.endswith("-noise") for name in names)
        measured |= gradient_values(subject, NOISE_BATCHES if needs_noise else 1)
    return {name: values for name, values in measured.items() if name in names}


def trace_values(
    trace: ActivationTrace,
    metrics: Sequence[Metric],
    row_constraints: tuple[RowConstraint, ...],
    subject: DiagnosisSubject,
) -> dict[str, MetricValues]:
    """Measure the metrics of a trace."""
    inputs_BT = subject.batches(0).inputs_BT
    measured = measure_trace(trace, metrics, row_constraints, inputs_BT)
    return {name: metric_values(values) for name, values in measured.items()}


def metric_values(layers: Sequence[LayerValue]) -> MetricValues:
    """Collect the values of one metric over the layers."""
    heads = tuple(layer.heads for layer in layers)
    values = tuple(layer.value for layer in layers)
    return MetricValues(values, tuple(layer.below for layer in layers), heads if any(heads) else ())


def labeled_metric_values(label: str, values: Mapping[Quantity, Sequence[LayerValue]]) -> dict[Quantity, MetricValues]:
    """Collect the values of the metrics of one kind of matrices; row norms have no heads."""
    collected = {quantity: metric_values(layers) for quantity, layers in values.items()}
    if is_row_norms(label):
        return {quantity: one._replace(heads=()) for quantity, one in collected.items()}
    return collected


def gradient_values(subject: DiagnosisSubject, batches: int) -> dict[str, MetricValues]:
    """Measure the gradients at the weights and at the scores of each layer."""
    groups = weight_groups(subject.model.parameter_roles())
    grads = gradients(subject.model, [_loss(subject, index) for index in range(batches)], groups)
    layers = range(1, len(subject.model.blocks) + 1)

    def row(by_layer: Mapping[int, float]) -> MetricValues:
        values = tuple(by_layer.get(layer, math.nan) for layer in layers)
        return MetricValues(values, tuple(value < FLOAT_FLOOR for value in values))

    kinds = dict.fromkeys(gradient.kind for gradient in grads)
    measured = {f"{kind}-gradient": row({g.layer: g.relative for g in grads if g.kind == kind}) for kind in kinds}
    if batches > 1:
        weight_kinds = [kind for kind in kinds if kind != "scores"]
        measured |= {f"{kind}-noise": row({g.layer: g.noise for g in grads if g.kind == kind}) for kind in weight_kinds}
    return measured | {"query-to-value": row(query_to_value(grads))}


def head_values(layers: Sequence[Values]) -> MetricValues:
    """Collect one number per head and layer; the value of a layer is the mean over its heads that have one."""
    values = tuple(_mean(heads) for heads in layers)
    return MetricValues(values, (False,) * len(values), tuple(layers))


def layer_values(layers: Iterable[float]) -> MetricValues:
    """Collect one number per layer."""
    values = tuple(layers)
    return MetricValues(values, (False,) * len(values))


def make_panel(metric: Metric, variants: Mapping[str, Sequence[MetricValues]], label: str = "") -> Panel:
    """Make the panel of a metric from the values of each variant, one entry for each seed.

    The label names the kind of matrices, where they are no effective ones.
    """
    first = 0 if metric.point is Point.RESIDUAL else 1
    geometric = metric.mean == "geometric"
    rows = tuple(make_series(variant, seeds, geometric=geometric) for variant, seeds in variants.items())
    columns = tuple(map(str, range(first, first + max(len(row.mean) for row in rows))))
    padded = tuple(_padded(row, len(columns)) for row in rows)
    matrix = label or (EFFECTIVE if metric.point is Point.MATRIX else "")
    point = POINTS.get(label, metric.point.value)
    summary = SUMMARIES.get(metric.name, metric.summary) if is_row_norms(label) else metric.summary
    return Panel(metric.name, summary, point, geometric, columns, padded, matrix)


def make_series(variant: str, seeds: Sequence[MetricValues], *, geometric: bool) -> Series:
    """Make one row: the mean over seeds, the layers below the floor, and the decay over the others."""
    average = _geometric_mean if geometric else _mean
    mean = tuple(average(values) for values in zip(*(seed.values for seed in seeds), strict=True))
    below = tuple(any(flags) for flags in zip(*(seed.below for seed in seeds), strict=True))
    layers = zip(*(seed.heads for seed in seeds), strict=True) if seeds and seeds[0].heads else ()
    heads = tuple(tuple(average(head) for head in zip(*layer, strict=True)) for layer in layers)
    fit = decay([0.0 if low else value for value, low in zip(mean, below, strict=True)]) if geometric else None
    shown = DecayFit(fit.rate, fit.fit, fit.order, fit.points) if fit and fit.points > 2 else None
    return Series(variant, tuple(seed.values for seed in seeds), mean, below, shown, heads)


def subject_layers_needed(subject: DiagnosisSubject) -> int | None:
    """Count the layers after which every token can get information from all earlier ones; None if these are too few."""
    weights = [layer[0] for layer in subject.trace().weights_BHTS]
    return layers_needed(measure_reach(weights, residual=subject.model.spec.residual))


def _padded(row: Series, layers: int) -> Series:
    """Pad the row of a model with fewer layers than others by nan."""
    missing = layers - len(row.mean)
    if not missing:
        return row
    padding = (math.nan,) * missing
    heads = (*row.heads, *((),) * missing) if row.heads else ()
    seeds = tuple((*values, *padding) for values in row.seeds)
    return Series(row.variant, seeds, (*row.mean, *padding), (*row.below, *(False,) * missing), row.decay, heads)


def _is_gradient(name: str) -> bool:
    """Tell whether a metric is measured by a backward pass."""
    return name == "query-to-value" or name.endswith(("-gradient", "-noise"))


def _loss(subject: DiagnosisSubject, index: int) -> Callable[[], Tensor]:
    """Make the loss of one batch a closure."""
    return lambda: subject.loss(index)


def _mean(values: Iterable[float]) -> float:
    """Average without nan; nan if nothing is left."""
    present = [value for value in values if not math.isnan(value)]
    return fmean(present) if present else math.nan


def _geometric_mean(values: Iterable[float]) -> float:
    """Average the logarithms without nan; nan if nothing is left."""
    logs = [math.log(max(value, 1e-300)) for value in values if not math.isnan(value)]
    return math.exp(fmean(logs)) if logs else math.nan
