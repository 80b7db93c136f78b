"""A report as files: CSV, JSON, Markdown and Parquet, from the same panels as the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attnlab.analysis.grid import Cell, Grid, Label
from attnlab.formatting import fitted, metric_heading, number, span
from attnlab.rendering._exporters import Rows, aligned_rows, exporters, markdown_table
from attnlab.rendering._parquet import LOCATION_COLUMNS, Schema, located, parquet_bytes, typed_rows
from attnlab.rendering._tables import CAPACITY_HEADS, max_solved_text, solved_text, spread_text
from attnlab.rendering.report import Report

CELL_SCHEMA: Schema = {
    **LOCATION_COLUMNS,
    "metric": "text",
    **dict.fromkeys(("mean", "low", "high"), "number"),
    "interval_kind": "text",
    **dict.fromkeys(("n", "solved", "runs"), "integer"),
    **dict.fromkeys(("p_solve", "p_solve_low", "p_solve_high", "chance"), "number"),
    "chosen": "text",
    **dict.fromkeys(("tried", "failed", "diverged"), "integer"),
}
"""The columns of the cells of every report, as Parquet and as a data frame."""


def cell_rows(panels: Sequence[Grid]) -> Rows:
    """List every cell that holds runs.

    Args:
        panels: The panels of a report.

    Returns:
        One row per cell, with the same columns throughout.
    """
    return aligned_rows(
        {**row_location(panel, row), panel.column_field: column, **_numbers(panel, cell)}
        for panel, row, column, cell in _cells(panels)
    )


def fixed_rows(panels: Sequence[Grid]) -> Rows:
    """List every cell that holds runs, with the columns of :data:`CELL_SCHEMA` whatever the panels are.

    Args:
        panels: The panels of a report.

    Returns:
        One row per cell; what is missing or nan is None.
    """
    rows = [
        {**located(row_location(panel, row), panel.column_field, column), **_numbers(panel, cell)}
        for panel, row, column, cell in _cells(panels)
    ]
    return typed_rows(rows, CELL_SCHEMA)


def _cells(panels: Sequence[Grid]) -> Iterator[tuple[Grid, Label, Any, Cell]]:
    """The cells that hold runs, each with its panel, row and column."""
    for panel in panels:
        for row in panel.rows:
            for column in panel.columns:
                if (cell := panel.cells.get((row, column))) is not None:
                    yield panel, row, column, cell


def _numbers(panel: Grid, cell: Cell) -> dict[str, Any]:
    """What a cell holds."""
    return {
        "metric": panel.metric,
        "mean": cell.mean,
        "low": cell.interval[0],
        "high": cell.interval[1],
        "interval_kind": cell.interval_kind,
        "n": len(cell.values),
        "solved": sum(cell.solved),
        "runs": len(cell.solved),
        "p_solve": cell.solve_rate,
        "p_solve_low": cell.solve_interval[0],
        "p_solve_high": cell.solve_interval[1],
        "chance": cell.chance,
        "chosen": cell.chosen,
        "tried": cell.tried,
        "failed": cell.failed,
        "diverged": cell.diverged,
    }


def row_location(panel: Grid, row: Label) -> dict[str, Any]:
    """Describe a row: the task, the subtask, the complexity, the trained level, and the fields of the row.

    Args:
        panel: The panel.
        row: The label of the row.

    Returns:
        Field -> value.
    """
    source = panel.panel
    return {
        "task": source.task,
        "subtask": source.subtask,
        "complexity": source.complexity,
        "trained": source.trained,
        **dict(zip(panel.row_fields, row, strict=True)),
    }


def _summaries(panel: Grid, ranks: Mapping[Label, str]) -> Rows:
    """Max solved level and capacity of every variant."""
    result = []
    for row in panel.rows:
        (c50, c50_ends), (c90, c90_ends) = panel.capacities[row]
        result.append(
            {
                **row_location(panel, row),
                "max_solved": panel.max_solved(row),
                "C50": c50,
                "C50_interval": list(c50_ends),
                "C90": c90,
                "C90_interval": list(c90_ends),
                "rank": ranks[row],
            }
        )
    return result


def report_data(report: Report) -> dict[str, Any]:
    """List cells, summaries and claims as plain data.

    Args:
        report: The report.

    Returns:
        The data, with nan and infinite numbers.
    """
    fields = report.ladders[0].row_fields if report.ladders else ()
    return {
        "question": report.question,
        "records": len(report.records),
        "failed": report.failed,
        "diverged": report.diverged,
        "cells": cell_rows(report.panels),
        "summaries": [summary for panel in report.ladders for summary in _summaries(panel, report.ranks_of(panel))],
        "overall": [
            {
                **dict(zip(fields, one.row, strict=True)),
                "interquartile_mean": one.mean[0],
                "interquartile_mean_interval": list(one.mean[1]),
                "beats_first": one.improvement[0],
                "beats_first_interval": list(one.improvement[1]),
            }
            for one in report.overall
        ],
        "claims": [
            {
                "says": one.statement,
                "outcome": one.outcome,
                "evidence": one.evidence,
                "estimate": one.estimate,
                "interval": list(one.interval),
            }
            for one in report.claims
        ],
        "notes": report.footnotes(),
    }


def report_markdown(report: Report) -> str:
    """Write one table per panel and one of its capacities, and one of the claims.

    Args:
        report: The report.

    Returns:
        Markdown.
    """
    parts = [f"**{report.question}**"] if report.question else []
    ladders = report.ladders
    for panel in report.panels:
        body = [[*row, *(_cell_text(cell, panel.metric) for cell in panel.across(row))] for row in panel.rows]
        table = markdown_table(panel.row_fields, [str(column) for column in panel.columns], body)
        parts.append(f"{panel.title}: {metric_heading(panel.metric)} by {panel.by}\n\n{table}")
        if panel in ladders and len(panel.columns) > 1:
            parts.append(markdown_table(panel.row_fields, CAPACITY_HEADS, _capacities(panel, report.ranks_of(panel))))
    if report.claims:
        claims = [[one.statement, one.outcome, one.evidence] for one in report.claims]
        parts.append(markdown_table(("claim", "outcome", "evidence"), (), claims))
    parts.append(" ".join(report.footnotes()))
    return "\n\n".join(parts) + "\n"


def _cell_text(cell: Cell, metric: str) -> str:
    """The mean with its interval, the number of seeds, and the solved runs with the interval of P(solve)."""
    if not cell.values:
        return "failed" if cell.failed else "-"
    ends = spread_text(cell, metric)
    notes = [ends, f"n={len(cell.values)}", f"solved {solved}" if (solved := solved_text(cell)) else ""]
    return f"{number(cell.mean, metric)} ({'; '.join(filter(None, notes))})"


def _capacities(panel: Grid, ranks: Mapping[Label, str]) -> list[list[str]]:
    """The lines of the capacity table."""
    body = []
    for row in panel.rows:
        cells = [max_solved_text(panel, row)]
        for value, ends in panel.capacities[row]:
            interval = span(ends, panel.columns)
            cells.append(fitted(value, panel.columns) + (f" ({interval})" if interval else ""))
        body.append([*row, *cells, ranks[row]])
    return body


FORMATS: dict[str, Callable[[Report], bytes]] = exporters(
    lambda report: cell_rows(report.panels),
    report_data,
    report_markdown,
    lambda report: parquet_bytes(fixed_rows(report.panels), CELL_SCHEMA),
)
"""Exporters of a report, by format."""
as_markdown = FORMATS["markdown"]
