"""The axis of a chart: where there is a single level, what varies instead of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from attnlab.analysis.grid import Cell, Grid, Label


def along_what_varies(panel: Grid) -> Grid:
    """Lay a panel with a single column out along the field of its rows that varies most.

    A field of numbers, such as the width, is preferred to one of words, such as the attention.

    Args:
        panel: The panel.

    Returns:
        The same cells, with the values of that field as columns and the other fields in the rows; the panel itself
        where it has several columns or a single row.
    """
    if len(panel.columns) != 1 or len(panel.rows) < 2:
        return panel
    (column,) = panel.columns
    values = [list(dict.fromkeys(words)) for words in zip(*panel.rows, strict=True)]
    varying = [index for index, own in enumerate(values) if len(own) > 1]
    chosen = max(varying, key=lambda index: (not any(map(math.isnan, map(_number, values[index]))), len(values[index])))
    numeric = not any(map(math.isnan, map(_number, values[chosen])))
    title = f"{panel.panel.task}, {panel.by} {column}" if panel.is_ladder else panel.panel.task
    others = [index for index in varying if index != chosen]
    rows: dict[Label, None] = {}
    cells: dict[tuple[Label, Any], Cell] = {}
    for row in panel.rows:
        label = tuple(row[index] for index in others) or (title,)
        rows[label] = None
        cells[label, _value(row[chosen], numeric=numeric)] = panel.cells[row, column]
    columns = [_value(word, numeric=numeric) for word in values[chosen]]
    return replace(
        panel,
        panel=replace(panel.panel, task=title),
        row_fields=tuple(panel.row_fields[index] for index in others) or ("task",),
        column_field=panel.row_fields[chosen],
        rows=tuple(rows),
        columns=tuple(sorted(columns) if numeric else columns),
        cells=cells,
    )


def _number(word: str) -> float:
    """The number that a field's text is; nan where it is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan


def _value(word: str, *, numeric: bool) -> float | str:
    """A value of the axis."""
    number = _number(word)
    return word if not numeric else int(number) if number.is_integer() else number
