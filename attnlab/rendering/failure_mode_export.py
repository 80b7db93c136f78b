"""Failure modes as files: CSV, JSON, Markdown and Parquet, from the same cells as the table.

a row    one cell: how many of its seeds have each failure mode, how many of these may have another instead
         (``unsure``), which is the most common, and all of them as text
JSON     beside the cells, every run with its failure mode, the other one it may have instead, and the evidence
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attnlab.analysis.cell import Label
from attnlab.analysis.failure_modes import FAILURE_MODES, OR
from attnlab.analysis.grid import Grid
from attnlab.rendering._exporters import Rows, aligned_rows, exporters, markdown_table
from attnlab.rendering._parquet import LOCATION_COLUMNS, Schema, located, parquet_bytes, typed_rows
from attnlab.rendering.cells import row_location
from attnlab.rendering.failure_mode_table import CellCounts, Counts, FailureModeTable, by_number, with_failed

CELL_SCHEMA: Schema = {
    **LOCATION_COLUMNS,
    **dict.fromkeys(("metric", "failure_mode", "failure_modes"), "text"),
    **dict.fromkeys(("n", *FAILURE_MODES, "unsure"), "number"),
    "chosen": "text",
    "tried": "integer",
}
"""The columns of the cells of every table of failure modes, as Parquet."""


def cell_rows(table: FailureModeTable) -> Rows:
    """List every cell that holds runs.

    Args:
        table: The failure modes.

    Returns:
        One row per cell, with the same columns throughout.
    """
    return aligned_rows(
        {**row_location(panel, row), panel.column_field: column, **numbers}
        for panel, row, column, numbers in _cells(table)
    )


def fixed_rows(table: FailureModeTable) -> Rows:
    """List every cell that holds runs, with the columns of :data:`CELL_SCHEMA` whatever the panels are.

    Args:
        table: The failure modes.

    Returns:
        One row per cell.
    """
    rows = [
        {**located(row_location(panel, row), panel.column_field, column), **numbers}
        for panel, row, column, numbers in _cells(table)
    ]
    return typed_rows(rows, CELL_SCHEMA)


def _cells(table: FailureModeTable) -> Iterator[tuple[Grid, Label, Any, dict[str, Any]]]:
    """The cells that hold runs, each with its panel, row, column and what it holds."""
    for panel, counts in zip(table.panels, table.counts, strict=True):
        yield from ((panel, *cell) for cell in _panel_cells(panel, counts))


def _panel_cells(panel: Grid, cell_counts: CellCounts) -> Iterator[tuple[Label, Any, dict[str, Any]]]:
    """The cells of one panel, each with its row, column and what it holds."""
    for row in panel.rows:
        for column, cell in zip(panel.columns, panel.across(row), strict=True):
            counts = with_failed(cell_counts.get((row, column), {}), cell.failed)
            if not sum(counts.values()):
                continue
            yield (
                row,
                column,
                {
                    "metric": "failure_mode",
                    "failure_mode": by_number(counts)[0][0].split(OR)[0],
                    "failure_modes": _cell_text(counts),
                    "n": _integer(sum(counts.values())),
                    **{mode: _integer(_named(counts, mode)) for mode in FAILURE_MODES},
                    "unsure": _integer(sum(count for label, count in counts.items() if OR in label)),
                    "chosen": cell.chosen,
                    "tried": cell.tried,
                },
            )


def table_data(table: FailureModeTable) -> dict[str, Any]:
    """List cells and runs as plain data.

    Args:
        table: The failure modes.

    Returns:
        The data.
    """
    return {"records": len(table.modes), "cells": cell_rows(table), "runs": table.runs()}


def table_markdown(table: FailureModeTable) -> str:
    """Write one table per panel, with the failure modes of each cell, and one of the evidence.

    Args:
        table: The failure modes.

    Returns:
        Markdown.
    """
    parts = []
    for panel, cell_counts in zip(table.panels, table.counts, strict=True):
        body = [
            [
                *row,
                *(_cell_text(with_failed(cell_counts.get((row, column), {}), cell.failed)) for column, cell in cells),
            ]
            for row in panel.rows
            for cells in [list(zip(panel.columns, panel.across(row), strict=True))]
        ]
        heads = [str(column) for column in panel.columns]
        parts.append(f"{panel.title}: failure mode by {panel.by}\n\n{markdown_table(panel.row_fields, heads, body)}")
    heads = ["failure mode", "runs", "example", "run"]
    parts.append(markdown_table(heads, (), [list(line) for line in table.evidence()]))
    return "\n\n".join(parts) + "\n"


def _integer(count: float) -> float:
    """A count; it stays a fraction where the runs of a seed were averaged."""
    return int(count) if count == int(count) else count


def _named(counts: Counts, mode: str) -> float:
    """How many have a failure mode, those included that may have another instead."""
    return sum(count for label, count in counts.items() if label.split(OR)[0] == mode)


def _cell_text(counts: Counts) -> str:
    """Every failure mode of a cell, and how many of the seeds have it."""
    total = sum(counts.values())
    return ", ".join(f"{label} ({count:g} of {total:g})" for label, count in by_number(counts)) or "-"


FORMATS: dict[str, Callable[[FailureModeTable], bytes]] = exporters(
    cell_rows, table_data, table_markdown, lambda table: parquet_bytes(fixed_rows(table), CELL_SCHEMA)
)
"""Exporters of failure modes, by format."""
