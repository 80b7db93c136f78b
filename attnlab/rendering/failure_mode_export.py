"""Verdicts as files: CSV, JSON, Markdown and Parquet, from the same cells as the table.

a row    one cell: how many of its seeds got each verdict, and which is the commonest
JSON     beside the cells every run with its verdict and the evidence
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attnlab.analysis.failure_modes import FAILURE_MODES
from attnlab.analysis.grid import Grid, Label
from attnlab.rendering.export import Rows, columned, lined, piped, place, tidy
from attnlab.rendering.failure_mode_table import FailureModeTable, Shares, commonest, counted


def rows(table: FailureModeTable) -> Rows:
    """Every cell of every panel as plain data, with the same columns throughout."""
    listed = [row for panel, shares in zip(table.panels, table.shares, strict=True) for row in plain(panel, shares)]
    heads = list(dict.fromkeys(name for row in listed for name in row))
    return [{name: row.get(name) for name in heads} for row in listed]


def plain(panel: Grid, shares: dict[tuple[Label, Any], Shares]) -> Rows:
    """The cells of a panel that hold runs."""
    result = []
    for row in panel.rows:
        for column, cell in zip(panel.columns, panel.across(row), strict=True):
            counts = counted(shares.get((row, column), {}), cell.failed)
            if not sum(counts.values()):
                continue
            result.append(
                {
                    **place(panel),
                    **dict(zip(panel.row_fields, row, strict=True)),
                    panel.column_field: column,
                    "value": "verdict",
                    "verdict": commonest(counts),
                    "n": whole(sum(counts.values())),
                    **{kind: whole(counts.get(kind, 0.0)) for kind in FAILURE_MODES},
                    "chosen": cell.chosen,
                    "tried": cell.tried,
                }
            )
    return result


def whole(count: float) -> float:
    """A count; a fraction stays one where the runs of a seed were averaged."""
    return int(count) if count == int(count) else count


def as_csv(table: FailureModeTable) -> bytes:
    """One line per cell."""
    return lined(rows(table))


def as_json(table: FailureModeTable) -> bytes:
    """Cells and runs: strict JSON."""
    data = {"records": len(table.modes), "cells": rows(table), "runs": table.data()}
    return json.dumps(tidy(data), indent=1, allow_nan=False).encode() + b"\n"


def as_markdown(table: FailureModeTable) -> bytes:
    """One table per panel: the commonest verdict of each cell and how many of its seeds share it; then the evidence."""
    parts = []
    for panel, shares in zip(table.panels, table.shares, strict=True):
        body = [
            [*row, *(_said(counted(shares.get((row, column), {}), cell.failed)) for column, cell in cells)]
            for row in panel.rows
            for cells in [list(zip(panel.columns, panel.across(row), strict=True))]
        ]
        heads = [str(column) for column in panel.columns]
        parts.append(f"{panel.title}: verdict by {panel.by}\n\n{piped(panel.row_fields, heads, body)}")
    parts.append(piped(("verdict", "runs", "for instance", "run"), (), [list(line) for line in table.evidence()]))
    return ("\n\n".join(parts) + "\n").encode()


def as_parquet(table: FailureModeTable) -> bytes:
    """One row per cell.

    Raises:
        InvalidValueError: the library that writes Parquet is not installed.
    """
    return columned(rows(table))


def _said(counts: Shares) -> str:
    name = commonest(counts)
    return f"{name} ({counts[name]:g} of {sum(counts.values()):g})" if name else "-"


FORMATS: dict[str, Callable[[FailureModeTable], bytes]] = {
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "parquet": as_parquet,
}
