"""The tables of the HTML page, as plain values that its templates show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.grid import Grid
from attnlab.analysis.published_values import PublishedComparison
from attnlab.formatting import fitted, metric_heading, span
from attnlab.records import Record
from attnlab.rendering._cell_text import center_text, solved_text, spread_text
from attnlab.rendering._tables import CAPACITY_HEADS, max_solved_text
from attnlab.rendering._tuned_tables import TITLE, has_tuned_table, tuned_lines
from attnlab.rendering.failure_mode_table import FailureModeTable, with_failed
from attnlab.rendering.published_values import (
    HEADS,
    about_ours,
    published_cells,
    published_title,
    why_they_differ,
)
from attnlab.rendering.report import Report

VERSIONS = ("attnlab", "python", "torch", "numpy", "numba", "system", "device", "processor")
"""Fields of the environments of the runs that the page lists, where they are known."""


class TableCell(NamedTuple):
    """A cell of a table."""

    text: str
    below: str = ""
    css: str = ""


class Table(NamedTuple):
    """A table: columns of names, then columns of cells."""

    names: Sequence[str]
    heads: Sequence[str]
    rows: Sequence[tuple[Sequence[str], Sequence[TableCell]]]
    kind: str = "number"


def panel(report: Report, panel: Grid) -> dict[str, Any]:
    """The tables of one panel."""
    ladder = panel in report.ladders and len(panel.columns) > 1
    return {
        "title": panel.title,
        "heading": f"{metric_heading(panel.metric)} by {panel.by}",
        "grid": _grid(panel),
        "tuned": _tuned(panel) if has_tuned_table(panel) else None,
        "about_tuned": TITLE,
        "capacities": _capacities(panel, report.ranks_of(panel)) if ladder else None,
    }


def _grid(panel: Grid) -> Table:
    rows = [(row, [_cell(cell, panel.metric) for cell in panel.across(row)]) for row in panel.rows]
    return Table(panel.row_fields, [str(column) for column in panel.columns], rows)


def _tuned(panel: Grid) -> Table:
    rows = [(label, [TableCell(text) for text in texts]) for label, texts in tuned_lines(panel)]
    return Table((*panel.row_fields, *panel.tuned), [str(column) for column in panel.columns], rows)


def _cell(cell: Cell, metric: str) -> TableCell:
    if not cell.values:
        return TableCell("failed" if cell.failed else "-")
    css = "all" if all(cell.solved) else "some" if any(cell.solved) else ""
    notes = [
        spread_text(cell, metric),
        f"n={len(cell.values)}",
        f"solved {solved}" if (solved := solved_text(cell)) else "",
    ]
    return TableCell(center_text(cell, metric), ", ".join(filter(None, notes)), css)


def _capacities(panel: Grid, ranks: Mapping[Label, str]) -> Table:
    rows = []
    for row in panel.rows:
        levels = panel.levels_run(row)
        capacities = [TableCell(fitted(value, levels), span(ends, levels)) for value, ends in panel.capacities[row]]
        rows.append((row, [TableCell(max_solved_text(panel, row)), *capacities, TableCell(ranks[row])]))
    return Table(panel.row_fields, CAPACITY_HEADS, rows)


def published(one: PublishedComparison) -> dict[str, Any]:
    """The table of published values and ours, and the lines above and below it."""
    rows = [([row.label], [TableCell(text) for text in published_cells(row, one.metric)]) for row in one.rows]
    return {
        "title": published_title(one),
        "about": about_ours(one),
        "table": Table(["variant"], HEADS, rows),
        "differs": why_they_differ(one),
    }


def failure_grids(failures: FailureModeTable) -> list[dict[str, Any]]:
    """One table for each task: the most common failure mode of each cell."""
    grids = []
    for panel, counts in zip(failures.panels, failures.counts, strict=True):
        rows = []
        for row in panel.rows:
            pairs = zip(panel.columns, panel.across(row), strict=True)
            own = [with_failed(counts.get((row, column), {}), cell.failed) for column, cell in pairs]
            rows.append((row, [_mode_cell(one) for one in own]))
        heads = [str(column) for column in panel.columns]
        grids.append({"title": f"{panel.title}, by {panel.by}", "table": Table(panel.row_fields, heads, rows, "text")})
    return grids


def _mode_cell(counts: Mapping[str, float]) -> TableCell:
    total = sum(counts.values())
    if not total:
        return TableCell("-")
    name = max(counts, key=lambda mode: counts[mode])
    css = "all" if name == "solved" and counts[name] == total else "some" if counts.get("solved") else ""
    others = [f"{mode} {count:g}" for mode, count in counts.items() if count and mode != name]
    return TableCell(name, ", ".join([f"{counts[name]:g} of {total:g}", *others]), css)


def evidence(failures: FailureModeTable) -> Table:
    lines = [([one.mode], [TableCell(one.runs), TableCell(one.evidence, one.run)]) for one in failures.evidence()]
    return Table(["failure mode"], ["runs", "example"], lines, "text")


def provenance(records: Sequence[Record]) -> Table:
    """Number of records, dates and versions."""
    ended = sorted(str(record.environment["ended"]) for record in records if "ended" in record.environment)
    lines = [("records", f"{len(records)}" + (f", {ended[0]} to {ended[-1]}" if ended else ""))]
    for name in VERSIONS:
        values = dict.fromkeys(str(record.environment[name]) for record in records if name in record.environment)
        lines += [(name, ", ".join(values))] if values else []
    return Table(["item"], ["value"], [([name], [TableCell(text)]) for name, text in lines], "text")
