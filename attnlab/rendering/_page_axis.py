"""The axis of the page's charts where every task has a single level: the field that varies instead of it.

Where that field has numbers, such as the width, it is left out of the names of the variants: one line for each variant,
and small charts for each value. Where it has words, such as the attention, the variants stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attnlab.analysis.axis import along_what_varies, axis_value, is_numeric
from attnlab.analysis.grid import Grid
from attnlab.records import Record
from attnlab.rendering._run_rows import level_title, names_of_runs, run_values, variant_names


@dataclass(frozen=True)
class PageAxis:
    """What the charts of a page have as their axis."""

    panels: Sequence[Grid]
    """The panels as they are drawn."""
    names: Sequence[str]
    """The variant of each run."""
    by: str = ""
    """The field of the axis; empty where it is the level."""
    places: Mapping[str, float | str] = field(default_factory=dict)
    """Id of each run -> its value of that field."""

    @property
    def groups(self) -> Mapping[str, tuple[float, str]]:
        """Id of each run -> number and words that set small charts apart; empty where the variants' names do."""
        numbers = {run: value for run, value in self.places.items() if isinstance(value, int | float)}
        return {run: (value, f"{self.by} {value:g}") for run, value in numbers.items()}


def page_axis(panels: Sequence[Grid], records: Sequence[Record], fields: Sequence[str]) -> PageAxis:
    """Choose the axis of the charts: the level, or where all panels have a single one, the field that varies most.

    Args:
        panels: The panels of the report.
        records: The runs.
        fields: The fields that name a row.

    Returns:
        The panels to be drawn and the names of the runs.
    """
    names = names_of_runs(records, fields)
    plain = PageAxis(panels, names)
    shown = [along_what_varies(panel) for panel in panels]
    kinds = {(panel.row_fields, panel.column_field, is_numeric(panel.columns)) for panel in shown}
    if len(kinds) != 1 or any(new is old for new, old in zip(shown, panels, strict=True)):
        return plain
    ((row_fields, by, numeric),) = kinds
    texts = [text for (text,) in run_values(records, [by])]
    if numeric:
        others = row_fields if set(row_fields) <= set(fields) else ()
        names = names_of_runs(records, others) if others else [level_title(record) for record in records]
    places = [axis_value(text, numeric=numeric) for text in texts]
    unknown = any(isinstance(value, float) and math.isnan(value) for value in places)
    if unknown or not set(names) <= set(variant_names(shown)):
        return plain
    return PageAxis(shown, names, by, {record.id: place for record, place in zip(records, places, strict=True)})
