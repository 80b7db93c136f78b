"""Records as rows of a data frame: everything that a run was given and gave, by the names of reports and filters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attnlab.analysis._observations import METRICS
from attnlab.analysis.run_rows import RunRow
from attnlab.records import Record
from attnlab.run_fields import Cache, run_fields

FIRST = ("id", "status", "reason", "task", "complexity", "level", "trained", "seed")
"""Columns before the fields of the run."""


def record_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """List one row for each run.

    Args:
        records: The records.

    Returns:
        Rows with the same columns throughout: :data:`FIRST`, the fields of the model, the training and the task, the
        metrics (shares from 0 to 1, losses in nats or squared errors, seconds), the means of scorers, and the
        diagnostics by name. What a run does not have is None, and a metric without a value is nan.
    """
    cache: Cache = {}
    rows = []
    for record in records:
        row = RunRow(record, Path(), (), stale=False, settings=run_fields(record.spec, cache))
        values = {name: row.get(name) for name in (*FIRST, *row.settings, *METRICS)}
        scores = {name: score.mean for name, score in record.scores.items()}
        rows.append({name: _plain(value) for name, value in (values | scores | record.diagnostics).items()})
    names = dict.fromkeys(name for row_values in rows for name in row_values)
    return [{name: row_values.get(name) for name in names} for row_values in rows]


def _plain(value: Any) -> Any:
    """A value that fits a column: a number, a text or None."""
    return value if value is None or isinstance(value, int | float | str) else str(value)
