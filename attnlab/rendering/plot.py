"""The charts of a report as one file: HTML, SVG, PNG and PDF, from the definitions of the HTML page.

Accuracy against complexity has one panel per task (or subtask, or trained level): a line through the means over seeds,
bars for their intervals, and a dashed line at the chance accuracy. Learning curves have one panel per task and level.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnlab.analysis.axis import along_what_varies
from attnlab.analysis.time_to_solve import TIME_METRICS
from attnlab.charts.look import PAPER
from attnlab.charts.runs import Definition, Variants, accuracy_by_level, curves_of_runs
from attnlab.errors import InvalidValueError
from attnlab.formatting import SHARES, metric_heading
from attnlab.rendering import _run_rows as run_rows
from attnlab.rendering._exporters import printable_data
from attnlab.rendering._page_charts import are_beside, lowest, points
from attnlab.rendering._vega import WRITERS, library

if TYPE_CHECKING:
    from attnlab.rendering.report import Report

ENDINGS = tuple(WRITERS)
WIDTH, HEIGHT, ACROSS = 320, 220, 3
BARS = {"interval": "95 % intervals", "range": "ranges of the seeds"}
"""What the bars are."""


def draw(report: Report, path: Path) -> bytes:
    """Draw the accuracy against the complexity in the format that the ending of a path names.

    Args:
        report: The report.
        path: The file, of which only the ending is used: ``.html``, ``.svg``, ``.png`` or ``.pdf``.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: The path has another ending, there is no finished run, or the plotting library is not
            installed.
    """
    return write(lambda: chart(report), path)


def draw_curves(report: Report, path: Path) -> bytes:
    """Draw the learning curves of all runs, one panel for each task and level.

    Args:
        report: The report; its records have their whole histories.
        path: The file, of which only the ending is used, as :func:`draw` uses it.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: As :func:`draw` raises it.
    """
    return write(lambda: curves(report), path)


def write(define: Any, path: Path) -> bytes:
    """Write a chart in the format that the ending of a path names.

    Args:
        define: A function that gives the definition.
        path: The file, of which only the ending is used.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: The path has another ending, or the plotting library is not installed.
    """
    ending = path.suffix.lower()
    if ending not in WRITERS:
        hint = f"Give a file name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."
        raise InvalidValueError(f"'{path}' is not a plot format.", hint, where="--plot")
    library()
    return WRITERS[ending](printable_data(define()))


def chart(report: Report) -> Definition:
    """Define the chart of the metric against the complexity.

    Args:
        report: The report.

    Returns:
        A Vega-Lite definition with its data.

    Raises:
        InvalidValueError: There is no finished run.
    """
    panels = [along_what_varies(panel) for panel in report.panels if any(cell.values for cell in panel.cells.values())]
    names = run_rows.variant_names(panels)
    parts = []
    for panel in panels:
        share = panel.metric in SHARES
        label = metric_heading(panel.metric).removesuffix(" in %")
        kind = "medians" if panel.metric in TIME_METRICS else "means"
        rows = points(panel, names)
        words: dict[str, Any] = {"share": share, "beside": are_beside(rows), "lowest": lowest(rows)}
        one = accuracy_by_level(Variants(names), panel.columns, panel.by, label, **words)
        kinds = {"range" if row["interval"].startswith("range") else "interval" for row in rows if row["interval"]}
        bars = " or ".join(BARS[kind] for kind in sorted(kinds))
        parts.append(_sized(one, rows, panel.title, f"{kind} over seeds; bars: {bars}" if bars else ""))
    return combined(parts, report.question)


def curves(report: Report) -> Definition:
    """Define the chart of the learning curves.

    Args:
        report: The report; its records have their whole histories.

    Returns:
        A Vega-Lite definition with its data.

    Raises:
        InvalidValueError: There is no run that was validated.
    """
    fields = report.panels[0].row_fields if report.panels else ()
    names = run_rows.names_of_runs(report.records, fields)
    name_of = {id(record): name for record, name in zip(report.records, names, strict=True)}
    one = curves_of_runs(Variants(tuple(dict.fromkeys(names))), "accuracy", "validation accuracy", share=True)
    parts = []
    for title, same in run_rows.by_level(report.records).items():
        if rows := run_rows.curve_rows(same, [name_of[id(record)] for record in same]):
            parts.append(_sized(one, rows, title))
    return combined(parts, report.question)


def combined(parts: Sequence[Definition], title: str = "") -> Definition:
    """Put charts side by side.

    Args:
        parts: The charts.
        title: A title above all; empty for none.

    Returns:
        A Vega-Lite definition.

    Raises:
        InvalidValueError: There is no chart.
    """
    if not parts:
        hint = "Plot a store in which at least one run is done."
        raise InvalidValueError("There is no finished run to plot.", hint, where="--plot")
    heading = {"title": {"text": title, "anchor": "start", "fontSize": 15, "offset": 12}} if title else {}
    return {"concat": list(parts), "columns": min(ACROSS, len(parts)), "config": PAPER, "spacing": 28, **heading}


def _sized(one: Definition, rows: run_rows.Rows, title: str, subtitle: str = "") -> Definition:
    """A chart with its data, size and titles."""
    heading = {"text": title, "anchor": "start", "fontSize": 13, "subtitleColor": "#555555"}
    heading |= {"subtitle": subtitle} if subtitle else {}
    return {**one, "data": {"values": rows}, "width": WIDTH, "height": HEIGHT, "title": heading}
