"""Accuracy against complexity as a chart: one definition for HTML, SVG and PNG.

One panel per task (or member, or level that was trained on), a line per variant through the means over seeds, a band
between the ends of their intervals, and a dashed line at chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnlab.analysis.grid import Grid
from attnlab.errors import InvalidValueError
from attnlab.formatting import SHARES
from attnlab.rendering.report import Report

ENDINGS = (".html", ".svg", ".png")
WIDTH, HEIGHT, ACROSS = 320, 220, 3
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
"""Okabe and Ito's, told apart by the color-blind."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")


def drawn(report: Report, path: Path) -> bytes:
    """The chart in the format that the ending of the path names.

    Raises:
        InvalidValueError: another ending; nothing to draw; the libraries that draw are not installed.
    """
    if path.suffix not in ENDINGS:
        raise InvalidValueError(f"'{path}' ends in none of {', '.join(ENDINGS)}.", where="--chart")
    return MAKERS[path.suffix](chart(report))


def chart(report: Report) -> Any:
    """The definition.

    Raises:
        InvalidValueError: nothing to draw; the libraries that draw are not installed.
    """
    try:
        import altair
        import vl_convert  # noqa: F401  altair writes every format but JSON by it
    except ImportError:
        hint = "Install them with: pip install 'attnlab[plots]'."
        raise InvalidValueError("Charts need the libraries altair and vl-convert.", hint, where="--chart") from None
    panels = [panel for panel in report.panels if any(cell.values for cell in panel.cells.values())]
    if not panels:
        raise InvalidValueError("There is no finished run to draw.", where="--chart")
    names = list(dict.fromkeys(" ".join(row) for panel in panels for row in panel.rows))
    charts = [_panel(altair, panel, names) for panel in panels]
    title = {"text": report.question} if report.question else altair.Undefined
    whole = altair.concat(*charts, columns=min(ACROSS, len(charts)), title=title)
    return whole.configure_view(stroke=None).configure_axis(gridColor="#eeeeee", domainColor="#888888")


def points(panel: Grid) -> list[dict[str, Any]]:
    """What is drawn: one point for each cell that holds runs."""
    result = []
    for row in panel.rows:
        for column, cell in zip(panel.columns, panel.across(row), strict=True):
            if cell.values:
                low, high = cell.interval if cell.interval[0] == cell.interval[0] else (cell.mean, cell.mean)
                point = {"variant": " ".join(row), "x": column, "mean": cell.mean, "low": low, "high": high}
                result.append({**point, "seeds": len(cell.values), "chance": cell.chance})
    return result


def _panel(altair: Any, panel: Grid, names: Sequence[str]) -> Any:
    """Band, line, marks and chance of one panel."""
    share = panel.metric in SHARES
    base = altair.Chart(altair.Data(values=points(panel)))
    colors = [COLORS[place % len(COLORS)] for place in range(len(names))]
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(names))]
    vivid = altair.Legend(symbolOpacity=1)
    color = altair.Color("variant:N", scale=altair.Scale(domain=list(names), range=colors), title=None, legend=vivid)
    shape = altair.Shape("variant:N", scale=altair.Scale(domain=list(names), range=shapes), title=None, legend=vivid)
    scale = altair.Scale(domain=[0, 1]) if share else altair.Scale(zero=False)
    axis = altair.Axis(format="%" if share else "~g")
    x, kind = _across(altair, panel)
    said = f"{panel.metric} (dashed: chance)" if panel.metric == "accuracy" else panel.metric
    y = altair.Y("mean:Q", scale=scale, axis=axis, title=said)
    tooltip = ["variant:N", f"x:{kind}", "mean:Q", "low:Q", "high:Q", "seeds:Q"]
    layers = [
        base.mark_area(opacity=0.18).encode(x=x, y=altair.Y("low:Q", title=said), y2="high:Q", color=color),
        base.mark_line().encode(x=x, y=y, color=color),
        base.mark_point(filled=True, size=50, opacity=1).encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip),
    ]
    if panel.metric == "accuracy":
        dashed = base.mark_line(strokeDash=[4, 4], color="#888888")
        layers.insert(0, dashed.encode(x=x, y=altair.Y("chance:Q", title=said)))
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=panel.title)


def _across(altair: Any, panel: Grid) -> tuple[Any, str]:
    """The axis of the levels: doubling where they are positive numbers, in their order where they are words."""
    numbers = all(isinstance(column, int | float) for column in panel.columns)
    if numbers and min(panel.columns) > 0:
        scale = altair.Scale(type="log", base=2, nice=False)
        return altair.X(
            "x:Q", scale=scale, axis=altair.Axis(values=list(panel.columns), format="~g"), title=panel.by
        ), "Q"
    kind = "Q" if numbers else "O"
    return altair.X(f"x:{kind}", sort=list(panel.columns), title=panel.by), kind


def _html(result: Any) -> bytes:
    """A page that needs no network: the libraries that draw stand in it."""
    import vl_convert

    return str(vl_convert.vegalite_to_html(json.dumps(result.to_dict()), bundle=True)).encode()


def _svg(result: Any) -> bytes:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(json.dumps(result.to_dict()))).encode()


def _png(result: Any) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(json.dumps(result.to_dict()), scale=2))


MAKERS: dict[str, Callable[[Any], bytes]] = {".html": _html, ".svg": _svg, ".png": _png}
