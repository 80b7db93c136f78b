"""Head maps as a page or a picture: PNG, SVG, HTML. Needs the plots extra."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from attnlab.diagnosis.result import Map
from attnlab.errors import InvalidValueError

FORMATS = ("png", "svg", "html")
SIDE = 320
"""Points of one map's side."""


def plotted(maps: Sequence[Map], suffix: str) -> bytes:
    """Heat maps side by side, queries down, keys across; zero is white, negative weights are red.

    Args:
        maps: The heads.
        suffix: ``.png``, ``.svg`` or ``.html``.

    Raises:
        InvalidValueError: another format, or the plots extra is not installed.
    """
    kind = suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise InvalidValueError(f"A map is not written as '{suffix}'.", "Use .png, .svg or .html.", where="--plot")
    try:
        import altair
        import vl_convert  # noqa: F401  what draws without a browser
    except ImportError:
        raise InvalidValueError(
            "Plots need the plots extra.", "Install it: pip install 'attnlab[plots]'.", where="--plot"
        ) from None
    chart = altair.hconcat(*(heat_map(altair, one) for one in maps)).resolve_scale(color="independent")
    if kind == "png":
        picture = io.BytesIO()
        chart.save(picture, format="png", scale_factor=2)
        return picture.getvalue()
    page = io.StringIO()
    chart.save(page, format=kind)
    return page.getvalue().encode()


def heat_map(altair: Any, one: Map) -> Any:
    """One head."""
    cells = [
        {"query": query, "key": key, "weight": weight}
        for query, row in enumerate(one.weights)
        for key, weight in enumerate(row[: query + 1])
    ]
    most = max((abs(cell["weight"]) for cell in cells), default=1.0) or 1.0
    color = altair.Scale(domain=[-most, 0, most], range=["#c0392b", "#ffffff", "#1f4e79"])
    return (
        altair.Chart(altair.InlineData(cells))
        .mark_rect()
        .encode(
            x=altair.X("key:O", axis=altair.Axis(labelOverlap=True)),
            y=altair.Y("query:O", axis=altair.Axis(labelOverlap=True)),
            color=altair.Color("weight:Q", scale=color),
            tooltip=["query:O", "key:O", "weight:Q"],
        )
        .properties(width=SIDE, height=SIDE, title=f"{one.variant} · layer {one.layer}, head {one.head}")
    )
