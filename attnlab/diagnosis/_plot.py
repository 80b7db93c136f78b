"""A diagnosis as a chart: each metric by layers, one line for each variant, and the attention maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attnlab.charts.diagnostics import attention_map, diagnostic, log_axis
from attnlab.charts.look import PAPER
from attnlab.charts.pooling import largest_weight, pool_max
from attnlab.charts.runs import Definition, Variants
from attnlab.errors import InvalidValueError

if TYPE_CHECKING:
    from attnlab.diagnosis.result import AttentionMap, Diagnosis, Panel, Series

WIDTH, HEIGHT, ACROSS = 260, 180, 3
MAP_SIDE = 64
"""Cells of a side of an attention map, at most."""


def diagnosis_chart(diagnosis: Diagnosis) -> Definition:
    """Define the chart of a diagnosis.

    Args:
        diagnosis: The diagnosis.

    Returns:
        A Vega-Lite definition with its data: a panel for each metric, and one for each map.

    Raises:
        InvalidValueError: Nothing was measured.
    """
    names = tuple(dict.fromkeys(series.variant for panel in diagnosis.panels for series in panel.rows))
    parts = [part for panel in diagnosis.panels for part in _panel(panel, Variants(names))]
    parts += [_map(one) for one in diagnosis.maps]
    if not parts:
        raise InvalidValueError("Nothing was measured.", "The notes of the diagnosis say why.", where="plot()")
    title = {"text": f"{diagnosis.kind}: {diagnosis.subject}", "anchor": "start", "fontSize": 15, "offset": 12}
    columns = min(ACROSS, len(parts))
    resolved = {"scale": {"color": "independent"}}  # maps have scales of their own
    return {"concat": parts, "columns": columns, "config": PAPER, "spacing": 28, "title": title, "resolve": resolved}


def _panel(panel: Panel, variants: Variants) -> list[Definition]:
    """The chart of a metric; none where it has no number."""
    rows = [row for series in panel.rows for row in _rows(series, panel.columns)]
    numbers = [row[name] for row in rows for name in ("mean", "least", "most") if row[name] is not None]
    if not numbers:
        return []
    one = diagnostic(variants, "layer", "layer", panel.name, log_axis(numbers), order=panel.columns)
    heading = {"text": panel.name, "subtitle": panel.matrix or panel.summary, **_HEADING}
    return [{**one, "data": {"values": rows}, "width": WIDTH, "height": HEIGHT, "title": heading}]


def _rows(series: Series, columns: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each layer; a layer without a number interrupts the line."""
    rows = []
    for index, layer in enumerate(columns):
        seeds = [values[index] for values in series.seeds if math.isfinite(values[index])]
        mean = series.mean[index] if math.isfinite(series.mean[index]) else None
        ends = {"least": min(seeds, default=None), "most": max(seeds, default=None)}
        rows.append({"variant": series.variant, "layer": layer, "mean": mean, **ends, "seeds": len(seeds)})
    return rows


def _map(one: AttentionMap) -> Definition:
    """The chart of the matrix of one head."""
    size = max(1, -(-len(one.weights) // MAP_SIDE))
    weights = pool_max(one.weights, size)
    cells = [
        {"query": query * size, "key": key * size, "weight": weight}
        for query, row in enumerate(weights)
        for key, weight in enumerate(row[: query + 1])
        if math.isfinite(weight)
    ]
    largest = 1.0 if one.is_share else largest_weight(cell["weight"] for cell in cells) or 1.0
    signed = any(cell["weight"] < 0 for cell in cells)
    chart = attention_map(range(0, len(one.weights), size), largest, signed=signed, side=WIDTH)
    note = one.matrix + (f"; each cell is the largest of {size} x {size}" if size > 1 else "")
    heading = {"text": f"{one.variant}, layer {one.layer}, head {one.head}", "subtitle": note, **_HEADING}
    return {**chart, "data": {"values": cells}, "height": WIDTH, "title": heading}


_HEADING: dict[str, Any] = {"anchor": "start", "fontSize": 13, "subtitleColor": "#555555"}
