"""Metrics of a trace: one number per layer, sequence and head, averaged as each metric asks.

    layer    0          1        2        ..
    stream   embedding  block 1  block 2  ..
    matrix              block 1  block 2  ..

The trace is copied to float64 first. What ran in less stays as coarse as it ran: values below the floor of the type
it ran in are rounding, and are marked.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.attention import RowConstraint
from attnlab.metrics.metric import FLOOR, METRICS, Metric, Point
from attnlab.tensors import ActivationTrace


@dataclass(frozen=True)
class Reading:
    """One metric in one layer."""

    layer: int
    """0 is the embedding; from 1, the blocks."""
    value: float
    """The mean over sequences and heads, of the metric's kind; nan where there is nothing to measure."""
    sequences: tuple[float, ...]
    """One per sequence, heads averaged."""
    heads: tuple[float, ...] = ()
    """One per head, sequences averaged; empty where a metric is not per head."""
    below: bool = False
    """Whether at least half of the sequences are below the floor: rounding, never data."""

    @property
    def spread(self) -> float:
        """Standard deviation over sequences; nan with fewer than two."""
        saved = torch.tensor([one for one in self.sequences if not math.isnan(one)], dtype=torch.float64)
        return float(saved.std()) if len(saved) > 1 else math.nan


def measured(
    trace: ActivationTrace,
    metrics: Iterable[Metric | str],
    rows_per_layer: Sequence[RowConstraint] = (),
    inputs_BT: Tensor | None = None,
) -> dict[str, tuple[Reading, ...]]:
    """Readings of each metric, layer by layer.

    A metric that needs the input tokens is left out where they are not given. Where a layer has nothing to measure,
    as scores where none are formed, its reading is nan.

    Args:
        trace: What a model showed of itself.
        metrics: Metrics, or their names.
        rows_per_layer: What the attention of each layer promises of its rows; norms of softmax's Jacobian are read off
            rows that promise to be probabilities, and are found to be the softmax of their scores.
        inputs_BT: The input tokens.
    """
    floor = floor_of(next(iter(trace.residual_BTD)).dtype) if trace.residual_BTD else FLOOR
    trace = upcast(trace)
    answers: dict[str, tuple[Reading, ...]] = {}
    for one in metrics:
        metric = METRICS[one] if isinstance(one, str) else one
        more = list(inspect.signature(metric.measure).parameters)[1:]
        if "inputs_BT" in more and inputs_BT is None:
            continue
        readings = []
        for layer, tensor in _at(metric.point, trace):
            if not tensor.numel():
                readings.append(Reading(layer, math.nan, ()))
                continue
            beside = {name: _beside(name, trace, layer, rows_per_layer, inputs_BT) for name in more}
            values = metric.measure(tensor, **beside)
            readings.append(_reading(metric, layer, values, floor))
        answers[metric.name] = tuple(readings)
    return answers


def upcast(trace: ActivationTrace) -> ActivationTrace:
    """A copy in float64, off the graph; heads are left as they are."""
    return trace._replace(
        residual_BTD=tuple(map(_double, trace.residual_BTD)),
        scores_BHTS=tuple(tuple(map(_double, layer)) for layer in trace.scores_BHTS),
        weights_BHTS=tuple(tuple(map(_double, layer)) for layer in trace.weights_BHTS),
    )


def floor_of(dtype: torch.dtype) -> float:
    """Relative size below which a number that was computed in this type is rounding."""
    return max(FLOOR, 8 * torch.finfo(dtype).eps)


def written(trace: ActivationTrace, layer: int) -> Tensor:
    """What attention writes in a layer, from 1, before the output projection: B x T x (H C), in float64."""
    mixed_BHTC = _double(trace.weights_BHTS[layer - 1][0]) @ _double(trace.qkv[layer - 1].values_BHSC)
    return mixed_BHTC.transpose(-3, -2).flatten(-2)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


def _at(point: Point, trace: ActivationTrace) -> Iterator[tuple[int, Tensor]]:
    """What stands at a point, layer by layer; an empty tensor where a layer has nothing there."""
    layers = range(1, len(trace.weights_BHTS) + 1)
    match point:
        case Point.STREAM:
            yield from enumerate(trace.residual_BTD)
        case Point.BRANCH:
            for layer in layers:
                stored = trace.weights_BHTS[layer - 1] and trace.qkv
                yield layer, written(trace, layer) if stored else torch.empty(0)
        case Point.MATRIX:
            yield from ((layer, _held(trace.weights_BHTS, layer)) for layer in layers)
        case Point.SCORES:
            yield from ((layer, _held(trace.scores_BHTS, layer)) for layer in layers)
        case Point.WEIGHTS:
            return


def _held(layers: tuple[tuple[Tensor, ...], ...], layer: int) -> Tensor:
    """The tensor of a layer, from 1; empty where there is none."""
    return layers[layer - 1][0] if layer <= len(layers) and layers[layer - 1] else torch.empty(0)


def _beside(
    name: str, trace: ActivationTrace, layer: int, rows: Sequence[RowConstraint], inputs_BT: Tensor | None
) -> Tensor | None:
    """What a metric asks for beside the tensor at its point."""
    if name == "inputs_BT":
        return inputs_BT
    if name == "weights_BHTS":
        return _held(trace.weights_BHTS, layer)
    assert name == "scores_BHTS", name
    promised = rows[layer - 1] if layer <= len(rows) else RowConstraint.STOCHASTIC
    return _held(trace.scores_BHTS, layer) if promised is RowConstraint.STOCHASTIC else torch.empty(0)


def _reading(metric: Metric, layer: int, values: Tensor, floor: float) -> Reading:
    """Averages of one number per sequence, or per sequence and head."""
    per_head = values.ndim > 1
    rough_B = torch.zeros(len(values), dtype=torch.bool)
    if metric.mean == "geometric":
        # A zero has no logarithm: what is below the floor counts as the floor, and is marked.
        rough_B = ((values < floor) | (values > 1 / floor)).reshape(len(values), -1).any(1)
        values = values.clamp(floor, 1 / floor)
    sequences = tuple(float(metric.average(row)) for row in values) if per_head else tuple(values.tolist())
    heads = tuple(float(metric.average(column)) for column in values.unbind(1)) if per_head else ()
    return Reading(layer, float(metric.average(values)), sequences, heads, bool(rough_B.double().mean() >= 0.5))
