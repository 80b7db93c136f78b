"""Observations -> grids: one row per variant, one column per level, the seeds in each cell.

Rows are named by the fields that distinguish runs which would otherwise share a cell, except for tuned fields. Where
the requested fields do not distinguish all runs, the runs of a seed are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from attnlab.analysis._draws import SHARE, Sample
from attnlab.analysis._observations import Observation, check_field, check_metric, observations, varying
from attnlab.analysis._panels import Panel, labels, panels
from attnlab.analysis.cell import Label, cell_of
from attnlab.analysis.grid import Grid
from attnlab.analysis.statistics import LazyIntervals
from attnlab.analysis.time_to_solve import TIME_METRICS
from attnlab.errors import InvalidValueError
from attnlab.records import Record


def grids(
    records: Iterable[Record],
    *,
    metric: str = "accuracy",
    index: Sequence[str] = (),
    columns: str = "level",
    tuned: Sequence[str] = (),
) -> list[Grid]:
    """Arrange records in panels.

    Args:
        records: Finished runs; the rows are in their order.
        metric: The metric in the cells.
        index: Fields of a row; none takes all that differ.
        columns: The field of the columns.
        tuned: Fields of which each cell takes the value with the best validation accuracy.

    Returns:
        One grid per panel; none without records.

    Raises:
        UnknownNameError: There is no such metric or field.
        InvalidValueError: Times to solve would be averaged over the runs of a seed.
    """
    observed = observations(records)
    if not observed:
        return []
    check_metric(metric, observed, "--metric")
    requested = tuple(check_field(name, observed, "--index") for name in index)
    column = check_field(columns, observed, "--columns")
    keys = tuple(check_field(name, observed, "tune") for name in tuned)
    keys = tuple(key for key in keys if key not in (*requested, column))
    shown = panels(observed, (*requested, column))
    differing = [name for name in varying(observed) if name not in (*keys, column)]
    row_fields, along, merged = labels(shown, differing, requested, column, keys)
    if merged and metric in TIME_METRICS:
        problem = f"The runs of a seed differ in {' and '.join(merged)}, and times that may be censored have no mean."
        raise InvalidValueError(problem, f"Add {','.join(merged)} to --index.", where=f"--metric {metric}")
    return [_grid(panel, metric, row_fields, column, keys, along, merged) for panel in shown]


def _grid(
    panel: Panel,
    metric: str,
    row_fields: tuple[str, ...],
    column_field: str,
    tuned: tuple[str, ...],
    along: tuple[str, ...],
    merged: tuple[str, ...],
) -> Grid:
    """One panel."""
    groups: dict[tuple[Label, Any], dict[Label, list[Observation]]] = {}
    alike: dict[Hashable, list[Observation]] = {}  # of equal fields: these name the same cell and candidate
    by_seed = "seed" in (*row_fields, *tuned, column_field)
    for one in panel.observations:
        key = (id(one.settings), one.level, one.trained, one.subtask, by_seed and one.record.spec.seed)
        group = alike.get(key)
        if group is None:
            label, candidate = (tuple(field_text(one.get(name)) for name in names) for names in (row_fields, tuned))
            cell = groups.setdefault((label, _sortable(one.get(column_field))), {})
            group = alike[key] = cell.setdefault(candidate, [])
        group.append(one)
    cells = {key: cell_of(candidates, metric, tuned) for key, candidates in groups.items()}
    ends = LazyIntervals([Sample(cell.values, cell.bounds) for cell in cells.values()])
    solving = LazyIntervals([Sample(cell.solve_rates, SHARE) for cell in cells.values()])
    cells = {
        key: replace(cell, place=place, ends=ends, solving=solving) for place, (key, cell) in enumerate(cells.items())
    }
    columns = sorted({column for _, column in cells}, key=lambda column: (isinstance(column, str), column or 0))
    rows = _ordered(dict.fromkeys(label for label, _ in cells))
    return Grid(panel, metric, row_fields, column_field, rows, tuple(columns), cells, tuned, along, merged)


def _ordered(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Rows in their order; where a field has numbers alone, these rise among rows that are equal in the others."""
    rows = list(labels)
    fields = [list(dict.fromkeys(field)) for field in zip(*rows, strict=True)]
    rising = [field if any(map(math.isnan, map(_number, field))) else sorted(field, key=_number) for field in fields]
    if rising == fields:
        return tuple(rows)
    places = [{text: place for place, text in enumerate(field)} for field in rising]
    return tuple(sorted(rows, key=lambda row: tuple(map(dict.__getitem__, places, row))))


def _number(text: str) -> float:
    """The number that the text of a field is; a field without a value comes last, and nan is that of other text."""
    try:
        return math.inf if text == "-" else float(text)
    except ValueError:
        return math.nan


def field_text(value: Any) -> str:
    """Format the value of a field for a table.

    Args:
        value: The value.

    Returns:
        The value as text; a dash for None and for empty text.
    """
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None or value == "" else str(value)


def _sortable(value: Any) -> Any:
    """A column value that can be sorted: a number or text."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else field_text(value)


def without_metric(records: Iterable[Record], metric: str) -> int:
    """Count the runs that a metric leaves out.

    Args:
        records: Finished runs.
        metric: The metric.

    Returns:
        How many of them have no such number on their own level.
    """
    return sum(math.isnan(one.metric(metric)) for one in observations(records) if one.evaluation is None)
