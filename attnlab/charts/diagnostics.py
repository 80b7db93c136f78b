"""The charts of what a model shows of its inside: diagnostics by step and layer, and attention maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from attnlab.charts.runs import Definition, Variants, quantity, tooltip

MAP_LABELS = 8
"""Labels of an axis of an attention map, at most."""
WIDE_RANGE = 50
"""A diagnostic whose positive values differ by more than this factor has a logarithmic axis."""


def diagnostic(
    variants: Variants, x: str, title: str, name: str, logs: Sequence[float] = (), order: Sequence[str] = ()
) -> Definition:
    """The means of a diagnostic over seeds, with a band from the least to the greatest seed.

    Columns: variant, the field of the x axis, mean, least, most, seeds.

    Args:
        variants: The variants.
        x: The column of the x axis: ``step``, which is logarithmic, or ``layer``.
        title: The title of the x axis.
        name: The diagnostic.
        logs: The labels of its axis where that is logarithmic.
        order: The layers in their order, where they are not numbers that rise.

    Returns:
        A Vega-Lite definition without data.
    """
    across = (
        quantity(x, title, type="log", base=2, nice=False)
        if x == "step"
        else {"field": x, "type": "ordinal", "title": title, "axis": {"labelAngle": 0, "labelOverlap": "greedy"}}
    )
    across |= {"sort": list(order)} if order else {}
    scale: dict[str, Any] = {"type": "log", "nice": False} if logs else {}
    up = quantity("mean", None if variants.interactive else name, **scale)
    up["axis"] = {"values": list(logs), "format": "~g"} if logs else {"tickCount": 5}
    head = [
        *tooltip(variant="variant"),
        {"field": x, "title": title},
        *({"field": field, "title": text, "format": ".4~g"} for field, text in (("mean", "mean"), ("least", "least"))),
        {"field": "most", "title": "greatest", "format": ".4~g"},
        *tooltip(seeds="seeds"),
    ]
    band = {"y": {**up, "field": "least"}, "y2": {"field": "most"}}
    dot = {"type": "point", "filled": True, "size": 35}
    layers = [
        {"mark": {"type": "area", "aria": False}, "encoding": {"x": across, **band, **variants.channels(0.15)}},
        {"mark": {"type": "line", "aria": False}, "encoding": {"x": across, "y": up, **variants.channels()}},
        {"mark": dot, "encoding": {"x": across, "y": up, "tooltip": head, **variants.channels()}},
    ]
    return variants.chart(layers, f"{name} by {title}")


def log_axis(values: Sequence[float]) -> list[float]:
    """Choose whether an axis is logarithmic.

    >>> log_axis([0.5, 0.7]), log_axis([0.0, 100.0]), log_axis([1.0, 10000.0])
    ([], [], [1.0, 10.0, 100.0, 1000.0, 10000.0])

    Args:
        values: The numbers; those that are not finite do not count.

    Returns:
        Its labels, where all are positive and some differ by more than the factor :data:`WIDE_RANGE`; else none.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) <= WIDE_RANGE * min(finite):
        return []
    return log_labels(min(finite), max(finite))


def log_labels(low: float, high: float) -> list[float]:
    """Choose the labels of a logarithmic axis.

    >>> log_labels(0.0004, 0.03), log_labels(1e-7, 10)
    ([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02], [1e-06, 0.0001, 0.01, 1.0])

    Args:
        low: The least number.
        high: The greatest.

    Returns:
        Powers of ten, or 1, 2 and 5 times these where there are few.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    every = max(1, (last - first) // 4)
    labels = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps if power % every == 0]
    return [label for label in labels if low <= label <= high]


def attention_map(tokens: Sequence[int], largest: float, *, signed: bool, side: int = 0) -> Definition:
    """The weights of one head: queries down, keys across.

    Columns: query, key, weight.

    Args:
        tokens: The indices of the rows and columns, rising.
        largest: The largest magnitude of the weights; 1 of rows that sum to 1.
        signed: Whether there are negative weights.
        side: The pixels of a side; 0 takes the width of the page.

    Returns:
        A Vega-Lite definition without data.
    """
    scheme = "blueorange" if signed else "cividis"
    scale = {"domain": [-largest if signed else 0, largest], "scheme": scheme}
    labels = list(tokens[:: -(-len(tokens) // MAP_LABELS)])
    axis = {"values": labels, "labelAngle": 0, "ticks": False, "domain": False, "grid": False}
    band = {"type": "ordinal", "axis": axis, "scale": {"padding": 0}}
    length = side or {"signal": "width"}
    legend = {"orient": "bottom", "gradientLength": length, "gradientThickness": 8, "title": None}
    color = {"field": "weight", "type": "quantitative", "scale": scale, "legend": legend}
    head = [*tooltip(query="query", key="key"), {"field": "weight", "title": "weight", "format": ".3f"}]
    return {
        "description": "attention weights, queries down, keys across",
        "data": {"name": "points"},
        "width": side or "container",
        "mark": {"type": "rect", "aria": False},
        "encoding": {
            "x": {"field": "key", "title": "key", **band},
            "y": {"field": "query", "title": "query", **band},
            "color": color,
            "tooltip": head,
        },
    }
