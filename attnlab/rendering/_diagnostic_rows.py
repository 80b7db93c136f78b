"""Records -> rows of the charts of logged diagnostics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnlab.analysis.statistics import average
from attnlab.records import Record
from attnlab.rendering._run_rows import Rows

MOST_LAYERS = 4
"""Layers of which a diagnostic is drawn along the training, at most."""


def chosen_layers(records: Sequence[Record]) -> list[int]:
    """Choose the layers of which diagnostics are drawn along the training.

    Args:
        records: Runs that logged diagnostics.

    Returns:
        Layers that all runs have, counted from 1; at most :data:`MOST_LAYERS`, evenly spaced, the last among them.
    """
    count = min(map(_layers, records), default=0)
    if count <= MOST_LAYERS:
        return list(range(1, count + 1))
    return [1 + round(index * (count - 1) / (MOST_LAYERS - 1)) for index in range(MOST_LAYERS)]


def _layers(record: Record) -> int:
    """The number of layers; of a whole model of the user's own, that of its shortest diagnostic."""
    if record.spec.model.module is None:
        return record.spec.model.layers
    return min(map(len, record.diagnostics_history[-1].values.values()), default=0)


def _first(record: Record, values: Sequence[float]) -> int:
    """The layer of the first value: 0, the embedding, of metrics of the residual stream, which have one value more."""
    return 0 if len(values) == _layers(record) + 1 else 1


def metrics_of(records: Sequence[Record]) -> list[str]:
    """List the diagnostics that runs have logged.

    Args:
        records: The runs.

    Returns:
        Their names, each once, in the order in which they were logged.
    """
    last = [point for record in records for point in record.diagnostics_history[-1:]]
    return list(dict.fromkeys(name for point in last for name in point.values))


def along_rows(records: Sequence[Record], names: Sequence[str], metric: str, layer: int) -> Rows:
    """List a diagnostic of one layer by training step, over seeds.

    Args:
        records: The runs.
        names: The variant of each.
        metric: The diagnostic.
        layer: The layer, counted from 1.

    Returns:
        One row for each variant and step: variant, step, mean, least, most, seeds.
    """
    values: dict[tuple[str, int], list[float]] = {}
    for record, name in zip(records, names, strict=True):
        for point in record.diagnostics_history:
            layers = point.values.get(metric, ())
            index = layer - _first(record, layers)
            if index < len(layers) and math.isfinite(layers[index]):
                values.setdefault((name, point.step), []).append(layers[index])
    return [{"variant": name, "step": step, **_over_seeds(found)} for (name, step), found in values.items()]


def layer_rows(records: Sequence[Record], names: Sequence[str], metric: str) -> Rows:
    """List a diagnostic at the end of the training by layer, over seeds.

    Args:
        records: The runs.
        names: The variant of each.
        metric: The diagnostic.

    Returns:
        One row for each variant and layer: variant, layer, mean, least, most, seeds. Layer 0 is the embedding.
    """
    values: dict[tuple[str, int], list[float]] = {}
    for record, name in zip(records, names, strict=True):
        for point in record.diagnostics_history[-1:]:
            layers = point.values.get(metric, ())
            for layer, value in enumerate(layers, _first(record, layers)):
                if math.isfinite(value):
                    values.setdefault((name, layer), []).append(value)
    return [{"variant": name, "layer": layer, **_over_seeds(found)} for (name, layer), found in values.items()]


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    return {"mean": average(values), "least": min(values), "most": max(values), "seeds": len(values)}
