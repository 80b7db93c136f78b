"""The axis of a chart: where there is a single level, what varies instead of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.grid import Grid


def along_what_varies(panel: Grid) -> Grid:
    """Lay a panel with a single column out along the field of its rows that varies most.

    A field of numbers, such as the width, is preferred to one of words, such as the attention.

    Args:
        panel: The panel.

    Returns:
        The same cells, with the values of that field as columns. The rows have the other fields where it has numbers;
        where it has words, they stay as they are. The panel itself where it has several columns or a single row.
    """
    if len(panel.columns) != 1 or len(panel.rows) < 2:
        return panel
    (column,) = panel.columns
    values = [list(dict.fromkeys(words)) for words in zip(*panel.rows, strict=True)]
    varying = [index for index, own in enumerate(values) if len(own) > 1]
    chosen = max(varying, key=lambda index: (_are_numbers(values[index]), len(values[index])))
    numeric = _are_numbers(values[chosen])
    title = f"{panel.panel.task}, {panel.by} {column}" if panel.is_ladder else panel.panel.task
    kept = [index for index in varying if index != chosen] if numeric else range(len(panel.row_fields))
    rows: dict[Label, None] = {}
    cells: dict[tuple[Label, Any], Cell] = {}
    for row in panel.rows:
        label = tuple(row[index] for index in kept) or (title,)
        rows[label] = None
        cells[label, axis_value(row[chosen], numeric=numeric)] = panel.cells[row, column]
    columns = [axis_value(word, numeric=numeric) for word in values[chosen]]
    return replace(
        panel,
        panel=replace(panel.panel, task=title),
        row_fields=tuple(panel.row_fields[index] for index in kept) or ("task",),
        column_field=panel.row_fields[chosen],
        rows=tuple(rows),
        columns=tuple(sorted(columns) if numeric else columns),
        cells=cells,
    )


def axis_value(word: str, *, numeric: bool) -> float | str:
    """Read the value of an axis.

    Args:
        word: A field's text.
        numeric: Whether the axis has numbers.

    Returns:
        The number, nan where it is none; the text of another axis.
    """
    number = _number(word)
    return word if not numeric else int(number) if number.is_integer() else number


def is_numeric(columns: Sequence[Any]) -> bool:
    """Tell whether the values of an axis are numbers.

    Args:
        columns: The values.

    Returns:
        Whether all are.
    """
    return all(isinstance(column, int | float) for column in columns)


def _are_numbers(words: Sequence[str]) -> bool:
    return not any(math.isnan(_number(word)) for word in words)


def _number(word: str) -> float:
    """The number that a field's text is; nan where it is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan
