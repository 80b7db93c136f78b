"""Metrics of a trace: one number per layer, sequence and head, averaged by the mean of each metric.

    layer             0          1        2        ..
    residual stream   embedding  block 1  block 2  ..
    matrix                       block 1  block 2  ..

The trace is copied to float64 first. This does not restore the precision of a pass in a narrower type: values below
the floor of that type are rounding error, and are marked.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.attention import RowConstraint
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS, Metric, Point
from attnlab.tensors import ActivationTrace


@dataclass(frozen=True)
class LayerValue:
    """The value of one metric in one layer."""

    layer: int
    """0 is the embedding; from 1, the blocks."""
    value: float
    """The mean over sequences and heads, by the mean of the metric; nan where there is nothing to measure."""
    sequences: tuple[float, ...]
    """One per sequence, heads averaged."""
    heads: tuple[float, ...] = ()
    """One per head, sequences averaged; empty where a metric is not per head."""
    below: bool = False
    """Whether at least half of the sequences are below the floor, where a value is rounding error."""

    @property
    def spread(self) -> float:
        """Standard deviation over sequences; nan with fewer than two."""
        values = torch.tensor([value for value in self.sequences if not math.isnan(value)], dtype=torch.float64)
        return float(values.std()) if len(values) > 1 else math.nan


def measure_trace(
    trace: ActivationTrace,
    metrics: Iterable[Metric | str],
    row_constraints: Sequence[RowConstraint] = (),
    inputs_BT: Tensor | None = None,
) -> dict[str, tuple[LayerValue, ...]]:
    """Measure each metric of a trace, layer by layer.

    A metric that needs the input tokens is left out where they are not given. Where a layer has nothing to measure,
    as the scores of an attention without scores, the value is nan.

    Args:
        trace: The activation trace of a model.
        metrics: Metrics, or their names.
        row_constraints: The row constraint of the attention of each layer; norms of the Jacobian of softmax are
            measured only where rows are stochastic and equal the softmax of their scores. Layers without an entry
            count as stochastic.
        inputs_BT: The input tokens.

    Returns:
        By the name of the metric, one value per layer.
    """
    floor = float_floor(next(iter(trace.residual_BTD)).dtype) if trace.residual_BTD else FLOAT_FLOOR
    trace = upcast(trace)
    values_by_metric: dict[str, tuple[LayerValue, ...]] = {}
    for metric_or_name in metrics:
        metric = METRICS[metric_or_name] if isinstance(metric_or_name, str) else metric_or_name
        extra_names = list(inspect.signature(metric.measure).parameters)[1:]
        if "inputs_BT" in extra_names and inputs_BT is None:
            continue
        layer_values = []
        for layer, tensor in _tensors_at(metric.point, trace):
            if not tensor.numel():
                layer_values.append(LayerValue(layer, math.nan, ()))
                continue
            extra = {name: _extra_argument(name, trace, layer, row_constraints, inputs_BT) for name in extra_names}
            layer_values.append(_average(metric, layer, metric.measure(tensor, **extra), floor))
        values_by_metric[metric.name] = tuple(layer_values)
    return values_by_metric


def upcast(trace: ActivationTrace) -> ActivationTrace:
    """Copy a trace to float64, detached from the graph.

    Args:
        trace: The trace; queries, keys and values are left as they are.

    Returns:
        The copy.
    """
    return trace._replace(
        residual_BTD=tuple(map(_double, trace.residual_BTD)),
        scores_BHTS=tuple(tuple(map(_double, layer)) for layer in trace.scores_BHTS),
        weights_BHTS=tuple(tuple(map(_double, layer)) for layer in trace.weights_BHTS),
    )


def float_floor(dtype: torch.dtype) -> float:
    """Compute the relative size below which a number is rounding error.

    Args:
        dtype: The type that the number was computed in.

    Returns:
        The floor, at least that of float64.
    """
    return max(FLOAT_FLOOR, 8 * torch.finfo(dtype).eps)


def head_outputs(trace: ActivationTrace, layer: int) -> Tensor:
    """Compute the output of an attention before the output projection.

    Args:
        trace: The trace, with matrices and values of the layer.
        layer: The layer, from 1.

    Returns:
        The head outputs side by side, B x T x (H C), in float64.
    """
    mixed_BHTC = _double(trace.weights_BHTS[layer - 1][0]) @ _double(trace.qkv[layer - 1].values_BHSC)
    return mixed_BHTC.transpose(-3, -2).flatten(-2)


def _double(tensor: Tensor) -> Tensor:
    """Copy a tensor to float64, detached from the graph."""
    return tensor.detach().double()


def _tensors_at(point: Point, trace: ActivationTrace) -> Iterator[tuple[int, Tensor]]:
    """Iterate over the layers and their tensors at a point; an empty tensor where a layer has none."""
    layers = range(1, len(trace.weights_BHTS) + 1)
    match point:
        case Point.RESIDUAL:
            yield from enumerate(trace.residual_BTD)
        case Point.BRANCH:
            for layer in layers:
                has_values = trace.weights_BHTS[layer - 1] and trace.qkv
                yield layer, head_outputs(trace, layer) if has_values else torch.empty(0)
        case Point.MATRIX:
            yield from ((layer, _layer_tensor(trace.weights_BHTS, layer)) for layer in layers)
        case Point.SCORES:
            yield from ((layer, _layer_tensor(trace.scores_BHTS, layer)) for layer in layers)
        case Point.WEIGHTS:
            return


def _layer_tensor(layers: tuple[tuple[Tensor, ...], ...], layer: int) -> Tensor:
    """Get the tensor of a layer, from 1; empty where there is none."""
    return layers[layer - 1][0] if layer <= len(layers) and layers[layer - 1] else torch.empty(0)


def _extra_argument(
    name: str, trace: ActivationTrace, layer: int, row_constraints: Sequence[RowConstraint], inputs_BT: Tensor | None
) -> Tensor | None:
    """Get an argument that a metric takes beside the tensor at its point."""
    if name == "inputs_BT":
        return inputs_BT
    if name == "weights_BHTS":
        return _layer_tensor(trace.weights_BHTS, layer)
    assert name == "scores_BHTS", name
    constraint = row_constraints[layer - 1] if layer <= len(row_constraints) else RowConstraint.STOCHASTIC
    return _layer_tensor(trace.scores_BHTS, layer) if constraint is RowConstraint.STOCHASTIC else torch.empty(0)


def _average(metric: Metric, layer: int, values: Tensor, floor: float) -> LayerValue:
    """Average one number per sequence, or per sequence and head."""
    per_head = values.ndim > 1
    below_B = torch.zeros(len(values), dtype=torch.bool)
    if metric.mean == "geometric":
        # A zero has no logarithm: a value below the floor counts as the floor, and is marked.
        below_B = ((values < floor) | (values > 1 / floor)).reshape(len(values), -1).any(1)
        values = values.clamp(floor, 1 / floor)
    sequences = tuple(float(metric.average(row)) for row in values) if per_head else tuple(values.tolist())
    heads = tuple(float(metric.average(column)) for column in values.unbind(1)) if per_head else ()
    return LayerValue(layer, float(metric.average(values)), sequences, heads, bool(below_B.double().mean() >= 0.5))
