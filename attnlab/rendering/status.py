"""Where stores stand, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.rendering.record_table import RecordTable
from attnlab.storage.status import StoreStatus

SHOWN = 5
"""Runs of each kind that are named; the rest is counted."""


@dataclass(frozen=True)
class Overview:
    """Several stores, a line each; a single one with its runs."""

    stores: Sequence[StoreStatus]

    def __rich__(self) -> RenderableType:
        """Counts of each store, then what is not done and why, then the runs of an only store."""
        table = Table(box=box.SIMPLE_HEAD)
        table.collapse_padding = True
        table.add_column("store", overflow="fold")
        for head in ("done", "missing", "failed", "diverged", "stale"):
            table.add_column(head, justify="right")
        for one in self.stores:
            counts = [one.done, one.missing, one.failed, one.diverged, one.stale]
            table.add_row(f"{one.path}/", *(str(len(runs)) if runs else "-" for runs in counts))
        parts: list[RenderableType] = [table, *(line for one in self.stores for line in reasons(one))]
        if len(self.stores) == 1 and self.stores[0].records:
            parts.append(RecordTable(self.stores[0].records))
        return Group(*parts)

    def data(self) -> list[dict[str, Any]]:
        """The counts and names as plain data."""
        return [
            {
                "store": str(one.path),
                "done": [record.id for record in one.done],
                "missing": [planned.id for planned in one.missing],
                "failed": {record.id: record.reason for record in one.failed},
                "diverged": {record.id: record.reason for record in one.diverged},
                "stale": [record.id for record in one.stale],
            }
            for one in self.stores
        ]


def reasons(one: StoreStatus) -> list[Text]:
    """Why runs are not done, in a line each."""
    lines = [(planned.summary, "missing", _begun(one, planned.id)) for planned in one.missing]
    named = _first(lines)
    named += _first([(record.spec.summary, "failed", record.reason) for record in one.failed])
    named += _first([(record.spec.summary, "diverged", record.reason) for record in one.diverged])
    why = "a part of it has a newer version; the next sweep runs it again"
    named += _first([(record.spec.summary, "stale", why) for record in one.stale])
    return [Text.assemble((f"{kind}  ", "yellow"), words, (f"  {reason}", "dim")) for words, kind, reason in named]


def _begun(one: StoreStatus, run: str) -> str:
    return "begun; it goes on from its checkpoint" if run in one.with_checkpoint else "not begun"


def _first(lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([(f"and {more} more", lines[0][1], "")] if more > 0 else [])]
