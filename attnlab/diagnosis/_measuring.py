"""Exhibits to panels: every metric averaged over each one's sequences and heads, then over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from attnlab.attention import RowConstraint
from attnlab.diagnosis._gain_control import blocks, unwrapped
from attnlab.diagnosis._svm_alignment import svm_values
from attnlab.diagnosis.result import Decay, Panel, Series, Values
from attnlab.diagnosis.subjects import DiagnosisSubject
from attnlab.metrics.decay import decay
from attnlab.metrics.gradients import gradients, query_to_value, weight_groups
from attnlab.metrics.measure import Reading, measured
from attnlab.metrics.metric import FLOOR, METRICS, Metric, Point
from attnlab.metrics.reach import layers_needed, reached
from attnlab.tensors import ActivationTrace

BATCHES = 4
"""Batches whose gradients are compared."""


class MetricValues(NamedTuple):
    """One metric of one exhibit, per layer."""

    values: Values
    below: tuple[bool, ...]
    heads: tuple[Values, ...] = ()


def measure_subject(subject: DiagnosisSubject, metrics: Sequence[Metric]) -> dict[str, MetricValues]:
    """What one exhibit shows of each metric; what it cannot show is left out."""
    names = {metric.name for metric in metrics}
    traced = [metric for metric in metrics if metric.name in METRICS]
    result: dict[str, MetricValues] = {}
    trace = subject.trace() if traced or names & {"reach", "keys"} or any(_selects(name) for name in names) else None
    if trace is not None:
        rows = tuple(unwrapped(block.attention).row_constraint for block in blocks(subject.model))
        result |= trace_values(trace, traced, rows, subject)
    if trace is not None and names & {"reach", "keys"}:
        hearings = reached([weights[0] for weights in trace.weights_BHTS], skip=subject.model.spec.residual)
        result["reach"] = plain([one.share for one in hearings])
        result["keys"] = plain([one.keys for one in hearings])
    if trace is not None and any(_selects(name) for name in names):
        result |= {name: by_head(layers) for name, layers in svm_values(subject.model, trace).items()}
    if any(_learns(name) for name in names):
        result |= gradient_values(subject, BATCHES if any(name.endswith("-noise") for name in names) else 1)
    return {name: one for name, one in result.items() if name in names}


def trace_values(
    trace: ActivationTrace, metrics: Sequence[Metric], rows: tuple[RowConstraint, ...], subject: DiagnosisSubject
) -> dict[str, MetricValues]:
    """Metrics of a trace."""
    inputs_BT = subject.batches(0).inputs_BT
    return {name: metric_values(readings) for name, readings in measured(trace, metrics, rows, inputs_BT).items()}


def metric_values(readings: Sequence[Reading]) -> MetricValues:
    """The readings of one metric."""
    heads = tuple(reading.heads for reading in readings)
    values = tuple(reading.value for reading in readings)
    return MetricValues(values, tuple(reading.below for reading in readings), heads if any(heads) else ())


def gradient_values(subject: DiagnosisSubject, batches: int) -> dict[str, MetricValues]:
    """What reaches the weights and the scores of each layer."""
    groups = weight_groups(subject.model.parameter_roles())
    grads = gradients(subject.model, [_loss(subject, index) for index in range(batches)], groups)
    layers = range(1, len(subject.model.blocks) + 1)

    def row(values: Mapping[int, float]) -> MetricValues:
        saved = tuple(values.get(layer, math.nan) for layer in layers)
        return MetricValues(saved, tuple(value < FLOOR for value in saved))

    kinds = dict.fromkeys(one.kind for one in grads)
    answer = {f"{kind}-gradient": row({o.layer: o.relative for o in grads if o.kind == kind}) for kind in kinds}
    if batches > 1:
        learned = [kind for kind in kinds if kind != "scores"]
        answer |= {f"{kind}-noise": row({o.layer: o.noise for o in grads if o.kind == kind}) for kind in learned}
    return answer | {"query-to-value": row(query_to_value(grads))}


def by_head(layers: Sequence[Values]) -> MetricValues:
    """One number per head and layer; the mean over the heads that have one."""
    values = tuple(_mean(values) for values in layers)
    return MetricValues(values, (False,) * len(values), tuple(layers))


def plain(values: Iterable[float]) -> MetricValues:
    """One number per layer."""
    saved = tuple(values)
    return MetricValues(saved, (False,) * len(saved))


def panel(metric: Metric, result: Mapping[str, Sequence[MetricValues]]) -> Panel:
    """The panel of a metric, from what each variant showed, one for each seed."""
    first = 0 if metric.point is Point.STREAM else 1
    geometric = metric.mean == "geometric"
    rows = tuple(series(variant, seeds, geometric=geometric) for variant, seeds in result.items())
    columns = tuple(map(str, range(first, first + max(len(row.mean) for row in rows))))
    return Panel(metric.name, metric.summary, metric.point.value, geometric, columns, tuple(map(_to(columns), rows)))


def series(variant: str, seeds: Sequence[MetricValues], *, geometric: bool) -> Series:
    """One row: the mean over seeds, what lies below the floor, and the decay of what does not."""
    average = _geometric if geometric else _mean
    mean = tuple(average(values) for values in zip(*(one.values for one in seeds), strict=True))
    below = tuple(any(flags) for flags in zip(*(one.below for one in seeds), strict=True))
    layers = zip(*(one.heads for one in seeds), strict=True) if seeds and seeds[0].heads else ()
    heads = tuple(tuple(average(one) for one in zip(*layer, strict=True)) for layer in layers)
    fitted = decay([0.0 if low else value for value, low in zip(mean, below, strict=True)]) if geometric else None
    saved = Decay(fitted.rate, fitted.fit, fitted.order, fitted.points) if fitted and fitted.points > 2 else None
    return Series(variant, tuple(one.values for one in seeds), mean, below, saved, heads)


def layers_needed_by(subject: DiagnosisSubject) -> int | None:
    """Layers until every token of every sequence can have heard of all before it; None if these are too few."""
    weights = [weights[0] for weights in subject.trace().weights_BHTS]
    return layers_needed(reached(weights, skip=subject.model.spec.residual))


def _to(columns: tuple[str, ...]) -> Callable[[Series], Series]:
    """Rows of models with fewer layers than others, filled up with nothing."""

    def filled(row: Series) -> Series:
        missing = len(columns) - len(row.mean)
        if not missing:
            return row
        nothing = (math.nan,) * missing
        heads = (*row.heads, *((),) * missing) if row.heads else ()
        seeds = tuple((*values, *nothing) for values in row.seeds)
        return Series(row.variant, seeds, (*row.mean, *nothing), (*row.below, *(False,) * missing), row.decay, heads)

    return filled


def _selects(name: str) -> bool:
    return name.startswith(("svm-", "weight-"))


def _learns(name: str) -> bool:
    return name == "query-to-value" or name.endswith(("-gradient", "-noise"))


def _loss(subject: DiagnosisSubject, index: int) -> Callable[[], Tensor]:
    return lambda: subject.loss(index)


def _mean(values: Iterable[float]) -> float:
    saved = [value for value in values if not math.isnan(value)]
    return fmean(saved) if saved else math.nan


def _geometric(values: Iterable[float]) -> float:
    saved = [math.log(max(value, 1e-300)) for value in values if not math.isnan(value)]
    return math.exp(fmean(saved)) if saved else math.nan
