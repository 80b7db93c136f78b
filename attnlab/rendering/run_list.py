"""Runs of one or several stores as one list: filtered, sorted, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from attnlab.analysis.run_rows import RunRow
from attnlab.formatting import SHARES, duration, interval, number, option_text, percent, thousands
from attnlab.rendering._text_table import GAP, CellText, TextTable, cell_text, fold_text, width
from attnlab.rendering.record_table import status_text
from attnlab.run_labels import RunLabels
from attnlab.storage.find_run import in_store

SHOWN = ("id", "accuracy", "status", "steps", "tag", "store")
"""Fields that have a column, or a place of their own, anyway."""
COUNTS = ("steps", "parameters")
"""Fields that are counts."""
NARROWEST = 16
"""Characters of the narrowest column of labels."""


@dataclass(frozen=True)
class RunList:
    """Runs in an order, with a column for each field that they are sorted by."""

    rows: Sequence[RunRow]
    field: str = ""
    """The field that they are sorted by; empty where they are not sorted."""
    total: int = 0
    """Runs before the filter."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What all runs have in common, a line for each, and how many there are."""
        if not self.rows:
            yield Text(f"None of {self.total} runs passes the filter." if self.total else "There are no runs.")
            return
        labels = RunLabels(row.record.spec for row in self.rows)
        yield Text(self._common(labels), style="bold")
        heads = self._heads()
        cells = [self._cells(row) for row in self.rows]
        used = 12 + sum(
            max([len(head), *map(width, column)]) for head, column in zip(heads, zip(*cells, strict=True), strict=True)
        )
        room = max(NARROWEST, options.max_width - used - GAP * (len(heads) + 1))
        names = [self._name(labels, row) for row in self.rows]
        size = min(room, max(map(len, names)))
        rows = [
            ((row.record.id,), [cell_text(*fold_text(name, size), below=""), *own])
            for row, name, own in zip(self.rows, names, cells, strict=True)
        ]
        yield TextTable(("run",), ("label", *heads), rows, left=1)
        count = f"{len(self.rows)} of {self.total} runs" if self.total > len(self.rows) else f"{len(self.rows)} runs"
        stores = {row.store for row in self.rows}
        place = in_store(min(stores)) if len(stores) == 1 else ""
        yield Text(f"{count}. The details of one: attnlab show RUN{place}", style="dim")

    def _common(self, labels: RunLabels) -> str:
        """Task, variant and position, where all runs have them in common."""
        first = labels.of(self.rows[0].record.spec)
        parts = (first.task, first.variant, first.position, first.seed)
        names = ("task", "variant", "position", "seed")
        return " · ".join(part for part, name in zip(parts, names, strict=True) if part and name in first.common)

    @staticmethod
    def _name(labels: RunLabels, row: RunRow) -> str:
        return " ".join([labels.of(row.record.spec).short, *(f"#{tag}" for tag in row.tags)])

    def _heads(self) -> list[str]:
        several = len({row.store for row in self.rows}) > 1
        extra = [self.field] if self.field and self.field not in SHOWN else []
        return ["accuracy", "95 %", *extra, "steps", "status", *(["store"] if several else [])]

    def _cells(self, row: RunRow) -> list[CellText]:
        record = row.record
        status = Text("stale", "yellow") if row.stale else status_text(record)
        scored = record.status != "failed"
        values: dict[str, CellText] = {
            "accuracy": cell_text(percent(record.accuracy.mean) if scored else "-"),
            "95 %": cell_text(interval(record.accuracy.interval) if scored else "-"),
            "steps": cell_text(thousands(record.steps)),
            "status": cell_text(status.plain, style=str(status.style)),
            "store": cell_text(f"{row.store}/"),
        }
        return [values.get(head) or cell_text(field_text(head, row.get(head))) for head in self._heads()]

    def lines(self) -> Iterator[str]:
        """The records as JSON, one line each, with the tags and the store."""
        for row in self.rows:
            extra = json.dumps({"tags": list(row.tags), "store": str(row.store)}, separators=(",", ":"))
            yield f"{row.record.model_dump_json()[:-1]},{extra[1:]}\n"


def field_text(name: str, value: Any) -> str:
    """Write the value of a field in the unit of the tables.

    Args:
        name: The field.
        value: Its value; None where the run has no such field.

    Returns:
        The value; shares in percent.
    """
    if value is None or value == ():
        return "-"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name in COUNTS and value == value:
            return thousands(value)
        if name == "seconds" and value == value:
            return duration(value)
        return f"{number(value, name)} %" if name in SHARES and value == value else number(value, name)
    return option_text(value)
