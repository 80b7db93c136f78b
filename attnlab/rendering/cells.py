"""The cells of a report as rows, with the columns that its panels have or with those that every report has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.grid import Grid
from attnlab.rendering._exporters import Rows, aligned_rows
from attnlab.rendering._parquet import LOCATION_COLUMNS, Schema, located, typed_rows

CELL_SCHEMA: Schema = {
    **LOCATION_COLUMNS,
    "metric": "text",
    **dict.fromkeys(("mean", "low", "high"), "number"),
    "interval_kind": "text",
    **dict.fromkeys(("n", "solved", "runs"), "integer"),
    **dict.fromkeys(("p_solve", "p_solve_low", "p_solve_high", "chance"), "number"),
    "chosen": "text",
    **dict.fromkeys(("tried", "failed", "diverged"), "integer"),
    **dict.fromkeys(("median", "median_low", "median_high"), "number"),
    "median_interval_kind": "text",
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
        **_median(cell),
    }


def _median(cell: Cell) -> dict[str, Any]:
    """The median of times to solve, which is infinite where it was not reached; of other metrics, nothing."""
    if cell.times is None:
        return {}
    (low, high), kind = cell.times.interval, cell.times.interval_kind
    return {"median": cell.times.median, "median_low": low, "median_high": high, "median_interval_kind": kind}


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
