"""The charts of the HTML page of logged diagnostics and attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attnlab.charts import diagnostics as charts
from attnlab.charts.pooling import largest_weight, pool_max
from attnlab.diagnosis.result import AttentionMap
from attnlab.records import Record
from attnlab.rendering import _diagnostic_rows as rows
from attnlab.rendering._page_axis import PageAxis
from attnlab.rendering._page_charts import LOW, TALL, Charts, Figure
from attnlab.rendering._run_rows import by_level

MEANINGS = {
    "residual": "The distance of the tokens from their mean, relative to their norm.",
    "cosine": "The mean cosine similarity of two different tokens.",
    "participation": "The number of directions that share the variance (participation ratio).",
    "entropy": "The entropy of a row relative to that of uniform attention.",
    "sink": "The share of the attention that goes to the first token.",
    "distance": "The mean distance from a query to the keys it attends to, relative to the longest possible.",
    "row-gain": "The sum of the absolute weights of a row.",
    "query-gradient": "The norm of the gradient of the query weights, relative to the norm of the weights.",
    "key-gradient": "The norm of the gradient of the key weights, relative to the norm of the weights.",
    "value-gradient": "The norm of the gradient of the value weights, relative to the norm of the weights.",
    "output-gradient": "The norm of the gradient of the output weights, relative to the norm of the weights.",
    "extra-gradient": "The norm of the gradient of the attention's other weights, relative to the norm of the weights.",
    "mlp-gradient": "The norm of the gradient of the MLP's weights, relative to the norm of the weights.",
}
"""The summaries of the diagnostics that a run logs; their registry needs torch, which a report does not import."""
LARGEST_MAP = 64
"""Cells of a side of an attention map, at most; larger maps show the largest weight of each square."""


class DiagnosticFigures(NamedTuple):
    """The charts of the logged diagnostics, and what can be chosen."""

    levels: list[str]
    layers: list[str]
    along: list[Figure]
    over_layers: list[Figure]


def diagnostic_figures(drawn: Charts, axis: PageAxis, records: Sequence[Record]) -> DiagnosticFigures:
    """Draw the logged diagnostics along the training and over layers, one small chart for each.

    Args:
        drawn: Where the charts are stored.
        axis: The axis of the page.
        records: The runs, with their whole histories.

    Returns:
        The figures; none where nothing was logged.
    """
    logged = [(record, name) for record, name in zip(records, axis.names, strict=True) if record.diagnostics_history]
    name_of = {id(record): name for record, name in logged}
    groups = by_level([record for record, _ in logged], axis.groups)
    metrics = rows.metrics_of([record for record, _ in logged])
    layers = rows.chosen_layers([record for record, _ in logged])
    along, over_layers = [], []
    for which, metric in enumerate(metrics):
        logs = _log_labels([record for record, _ in logged], metric)
        steps = charts.diagnostic(drawn.variants, "step", "training step", metric, logs)
        depth = charts.diagnostic(drawn.variants, "layer", "layer", metric, logs)
        for level, same in enumerate(groups.values()):
            own = [name_of[id(record)] for record in same]
            drawn.add(
                f"layers|{which}|{level}", drawn.spec(depth, LOW), drawn.table(rows.layer_rows(same, own, metric))
            )
            for place, layer in enumerate(layers):
                table = drawn.table(rows.along_rows(same, own, metric, layer))
                drawn.add(f"along|{which}|{level}|{place}", drawn.spec(steps, LOW), table)
        meaning = MEANINGS.get(metric, "")
        along.append(Figure(f"along|{which}|{{level}}|{{layer}}", metric, meaning))
        over_layers.append(Figure(f"layers|{which}|{{level}}", metric, meaning))
    return DiagnosticFigures(list(groups), [f"layer {layer}" for layer in layers], along, over_layers)


def map_figures(drawn: Charts, key: str, maps: Sequence[AttentionMap]) -> list[Figure]:
    """Draw attention maps.

    Args:
        drawn: Where the charts are stored.
        key: The beginning of the keys.
        maps: The maps of one run.

    Returns:
        One figure for each map.
    """
    figures = []
    for one in maps:
        size = -(-len(one.weights) // LARGEST_MAP)
        cells = pool_max(one.weights, size) if size > 1 else one.weights
        weights = [[float(f"{weight:.3g}") for weight in row[: query + 1]] for query, row in enumerate(cells)]
        largest = largest_weight(weight for row in weights for weight in row) or 1.0
        signed = any(weight < 0 for row in weights for weight in row)
        # Rows that sum to 1 share one scale; the weights of other matrices have no common one.
        scale = 1.0 if one.is_share else largest
        name = f"map|{key}|{one.layer}.{one.head}"
        tokens = range(0, len(one.weights), size)
        drawn.tables.append({"weights": weights, "size": size})
        spec = drawn.spec(charts.attention_map(tokens, scale, signed=signed), TALL)
        drawn.add(name, spec, len(drawn.tables) - 1)
        note = one.matrix + (f"; each cell is the largest of {size} x {size}" if size > 1 else "")
        figures.append(Figure(name, f"layer {one.layer}, head {one.head}", note, TALL + 60))
    return figures


def _log_labels(records: Sequence[Record], metric: str) -> list[float]:
    """The labels of a logarithmic axis where values are positive and span orders of magnitude; none elsewhere."""
    values = [
        value for record in records for point in record.diagnostics_history for value in point.values.get(metric, ())
    ]
    return charts.log_axis(values)
