"""Accuracy against complexity as a plot: one definition for HTML, SVG and PNG.

There is one panel per task (or subtask, or trained level). Each variant has a line through the means over seeds and a
band between the ends of their intervals; a dashed line shows the chance accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnlab.analysis.axis import along_what_varies
from attnlab.analysis.grid import Grid
from attnlab.errors import InvalidValueError
from attnlab.formatting import SHARES
from attnlab.rendering.report import Report

ENDINGS = (".html", ".svg", ".png")
WIDTH, HEIGHT, ACROSS = 320, 220, 3
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
"""The palette of Okabe and Ito, which color-blind readers can distinguish."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")


def draw(report: Report, path: Path) -> bytes:
    """Draw the plot in the format that the ending of a path names.

    Args:
        report: The report.
        path: The file, of which only the ending is used: ``.html``, ``.svg`` or ``.png``.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: The path has another ending, there is no finished run, or the plotting libraries are not
            installed.
    """
    if path.suffix not in ENDINGS:
        hint = f"Give a file name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."
        raise InvalidValueError(f"'{path}' is not a plot format.", hint, where="--plot")
    return WRITERS[path.suffix](chart(report))


def chart(report: Report) -> Any:
    """Define the plot.

    Args:
        report: The report.

    Returns:
        An altair chart.

    Raises:
        InvalidValueError: There is no finished run, or the plotting libraries are not installed.
    """
    try:
        import altair
        import vl_convert  # noqa: F401  altair needs it for every format but JSON
    except ImportError:
        hint = "Install them with: pip install 'attnlab[plots]'."
        raise InvalidValueError("Plots need the libraries altair and vl-convert.", hint, where="--plot") from None
    panels = [along_what_varies(panel) for panel in report.panels if any(cell.values for cell in panel.cells.values())]
    if not panels:
        hint = "Plot a store in which at least one run is done."
        raise InvalidValueError("There is no finished run to plot.", hint, where="--plot")
    names = list(dict.fromkeys(" ".join(row) for panel in panels for row in panel.rows))
    charts = [_panel(altair, panel, names) for panel in panels]
    title = {"text": report.question} if report.question else altair.Undefined
    combined = altair.concat(*charts, columns=min(ACROSS, len(charts)), title=title)
    return combined.configure_view(stroke=None).configure_axis(gridColor="#eeeeee", domainColor="#888888")


def points(panel: Grid) -> list[dict[str, Any]]:
    """List the points of a panel.

    Args:
        panel: The panel.

    Returns:
        One point per cell that holds runs: variant, x, mean, low, high, seeds, solved, chance.
    """
    result = []
    for row in panel.rows:
        for column, cell in zip(panel.columns, panel.across(row), strict=True):
            if cell.values:
                low, high = cell.interval if cell.interval[0] == cell.interval[0] else (cell.mean, cell.mean)
                point = {"variant": " ".join(row), "x": column, "mean": cell.mean, "low": low, "high": high}
                result.append({**point, "seeds": len(cell.values), "solved": sum(cell.solved), "chance": cell.chance})
    return result


def _panel(altair: Any, panel: Grid, names: Sequence[str]) -> Any:
    """Band, line, marks and chance of one panel."""
    share = panel.metric in SHARES
    base = altair.Chart(altair.Data(values=points(panel)))
    colors = [COLORS[index % len(COLORS)] for index in range(len(names))]
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(names))]
    legend = altair.Legend(symbolOpacity=1)
    color = altair.Color("variant:N", scale=altair.Scale(domain=list(names), range=colors), title=None, legend=legend)
    shape = altair.Shape("variant:N", scale=altair.Scale(domain=list(names), range=shapes), title=None, legend=legend)
    scale = altair.Scale(domain=[0, 1]) if share else altair.Scale(zero=False)
    axis = altair.Axis(format="%" if share else "~g")
    x, kind = _x_axis(altair, panel)
    label = f"{panel.metric} (dashed: chance)" if panel.metric == "accuracy" else panel.metric
    y = altair.Y("mean:Q", scale=scale, axis=axis, title=label)
    tooltip = ["variant:N", f"x:{kind}", "mean:Q", "low:Q", "high:Q", "seeds:Q", "solved:Q"]
    layers = [
        base.mark_area(opacity=0.18).encode(x=x, y=altair.Y("low:Q", title=label), y2="high:Q", color=color),
        base.mark_line().encode(x=x, y=y, color=color),
        base.mark_point(filled=True, size=50, opacity=1).encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip),
    ]
    if panel.metric == "accuracy":
        dashed = base.mark_line(strokeDash=[4, 4], color="#888888")
        layers.insert(0, dashed.encode(x=x, y=altair.Y("chance:Q", title=label)))
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=panel.title)


def _x_axis(altair: Any, panel: Grid) -> tuple[Any, str]:
    """The axis of the levels and its type: logarithmic for positive numbers, ordinal for words."""
    numbers = all(isinstance(column, int | float) for column in panel.columns)
    if numbers and min(panel.columns) > 0:
        scale = altair.Scale(type="log", base=2, nice=False)
        return altair.X(
            "x:Q", scale=scale, axis=altair.Axis(values=list(panel.columns), format="~g"), title=panel.by
        ), "Q"
    kind = "Q" if numbers else "O"
    return altair.X(f"x:{kind}", sort=list(panel.columns), title=panel.by), kind


def _html(plot: Any) -> bytes:
    """A page that needs no network: it contains the plotting libraries."""
    import vl_convert

    return str(vl_convert.vegalite_to_html(json.dumps(plot.to_dict()), bundle=True)).encode()


def _svg(plot: Any) -> bytes:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(json.dumps(plot.to_dict()))).encode()


def _png(plot: Any) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(json.dumps(plot.to_dict()), scale=2))


WRITERS: dict[str, Callable[[Any], bytes]] = {".html": _html, ".svg": _svg, ".png": _png}
"""Writers of a plot, by the ending of the file."""
