"""Attention maps as a page or an image: PNG, SVG, HTML. Needs the plots extra."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from attnlab.charts.pooling import largest_weight, pool_max
from attnlab.diagnosis.result import AttentionMap
from attnlab.errors import InvalidValueError

FORMATS = ("png", "svg", "html")
SIDE = 320
"""Side of one map, in pixels."""
MOST = 128
"""Cells of a side, at most; a larger map shows the largest weight of each square."""


def plot_maps(maps: Sequence[AttentionMap], suffix: str) -> bytes:
    """Plot heat maps side by side, queries down, keys across; zero is white, negative weights are red.

    Args:
        maps: The maps of the heads.
        suffix: ``.png``, ``.svg`` or ``.html``.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: The format is another one, or the plots extra is not installed.
    """
    kind = suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise InvalidValueError(
            f"An attention map cannot be written as '{suffix}'.", "Use .png, .svg or .html.", where="--plot"
        )
    try:
        import altair
        import vl_convert  # noqa: F401  renders without a browser
    except ImportError:
        raise InvalidValueError(
            "Plots need the plots extra.", "Install it: pip install 'attnlab[plots]'.", where="--plot"
        ) from None
    chart = altair.hconcat(*(heat_map(altair, one) for one in maps)).resolve_scale(color="independent")
    if kind == "png":
        image = io.BytesIO()
        chart.save(image, format="png", scale_factor=2)
        return image.getvalue()
    page = io.StringIO()
    chart.save(page, format=kind)
    return page.getvalue().encode()


def heat_map(altair: Any, one: AttentionMap) -> Any:
    """Define the heat map of one head.

    Args:
        altair: The library.
        one: The map.

    Returns:
        An altair chart.
    """
    size = -(-len(one.weights) // MOST)
    weights = pool_max(one.weights, size) if size > 1 else one.weights
    cells = [
        {"query": query * size, "key": key * size, "weight": weight}
        for query, row in enumerate(weights)
        for key, weight in enumerate(row[: query + 1])
        if math.isfinite(weight)
    ]
    title: dict[str, Any] = {"text": f"{one.variant} · layer {one.layer}, head {one.head}"}
    if size > 1:
        title["subtitle"] = f"each cell is the largest of {size} x {size}"
    largest = 1.0 if one.is_share else largest_weight(cell["weight"] for cell in cells) or 1.0
    color = altair.Scale(domain=[-largest, 0, largest], range=["#c0392b", "#ffffff", "#1f4e79"])
    if one.is_share:
        color = altair.Scale(domain=[0, 1], range=["#ffffff", "#1f4e79"])
    return (
        altair.Chart(altair.InlineData(cells))
        .mark_rect()
        .encode(
            x=altair.X("key:O", axis=altair.Axis(labelOverlap=True)),
            y=altair.Y("query:O", axis=altair.Axis(labelOverlap=True)),
            color=altair.Color("weight:Q", scale=color),
            tooltip=["query:O", "key:O", "weight:Q"],
        )
        .properties(width=SIDE, height=SIDE, title=title)
    )
