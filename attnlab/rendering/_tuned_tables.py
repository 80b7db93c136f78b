"""What was tried of tuned fields: the validation accuracy of each value, by which the table takes one in each cell."""

from __future__ import annotations

import math
from typing import Any

from rich.text import Text

from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.grid import Grid
from attnlab.formatting import number
from attnlab.rendering._exporters import Rows
from attnlab.rendering._text_table import TextTable, cell_text
from attnlab.rendering.cells import row_location

SHOWN = ("position",)
"""Tuned fields whose values are told in a table; of others the footnotes tell how many were tried."""
CHOSEN = "*"
"""Stands behind the validation accuracy of the value that is chosen."""
TITLE = f"validation accuracy in %; the table above has, in each cell, the one with a {CHOSEN}"


def has_tuned_table(panel: Grid) -> bool:
    """Whether a field was tuned that is told in a table, and several of its values were run."""
    return any(name in SHOWN for name in panel.tuned) and any(cell.candidates for cell in panel.cells.values())


def tuned_lines(panel: Grid) -> list[tuple[Label, list[str]]]:
    """The validation accuracies of every variant and tuned value, by column.

    Returns:
        The fields of the row with the tuned values, and one text for each column; a dash where it was not run.
    """
    lines = []
    for row in panel.rows:
        cells = panel.across(row)
        for label in dict.fromkeys(label for cell in cells for label, _ in cell.candidates):
            lines.append(((*row, *label), [_text(cell, label, panel) for cell in cells]))
    return lines


def tuned_table(panel: Grid) -> TextTable:
    """Variants and tuned values by levels, on a screen."""
    rows = [
        (label, [cell_text(text, style="bold" if text.endswith(CHOSEN) else "dim") for text in texts])
        for label, texts in tuned_lines(panel)
    ]
    heads = [str(column) for column in panel.columns]
    return TextTable((*panel.row_fields, *panel.tuned), heads, rows, Text(TITLE, style="dim"))


def tuned_rows(panel: Grid) -> Rows:
    """The same as plain data: one row for each variant, column and tuned value."""
    return [
        {
            **row_location(panel, row),
            panel.column_field: column,
            **dict(zip(panel.tuned, label, strict=True)),
            "validation_accuracy": math.nan if math.isinf(accuracy) else accuracy,
            "chosen": _is_chosen(cell, label, panel),
        }
        for row in panel.rows
        for column, cell in zip(panel.columns, panel.across(row), strict=True)
        for label, accuracy in cell.candidates
    ]


def _text(cell: Cell, label: Label, panel: Grid) -> str:
    accuracy: Any = dict(cell.candidates).get(label, -math.inf)
    if math.isinf(accuracy):
        return "-"
    return number(accuracy, "validation_accuracy") + (CHOSEN if _is_chosen(cell, label, panel) else "")


def _is_chosen(cell: Cell, label: Label, panel: Grid) -> bool:
    return cell.chosen == ", ".join(f"{name} {value}" for name, value in zip(panel.tuned, label, strict=True))
