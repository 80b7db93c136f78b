"""The status of stores, as a table."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.records import Record
from attnlab.rendering.record_table import RecordTable
from attnlab.run_labels import RunLabels
from attnlab.storage.status import StoreStatus

UNREADABLE = "its checkpoint cannot be read; delete the file, and the run begins anew"
MOST_LISTED, LATEST = 1000, 20
"""A store of more runs lists the latest of them only: nobody reads a table of thousands of lines."""
SHOWN = 5
"""Runs of each status that are listed; the others are counted."""


@dataclass(frozen=True)
class Overview:
    """Several stores, one line each; of a single store, its runs as well."""

    stores: Sequence[StoreStatus]
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The tags of the runs that have some, by id."""

    def __rich__(self) -> RenderableType:
        """Counts of each store, the runs that are not done and why, and the records of a single store."""
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
            parts += self._runs(self.stores[0])
        return Group(*parts)

    def _runs(self, store: StoreStatus) -> Iterator[RenderableType]:
        """The runs of a store; of a large one, those that finished last, and how to see the others."""
        large = len(store.records) > MOST_LISTED
        yield RecordTable(store.records[-LATEST:] if large else store.records, store.stale, self.tags)
        if large:
            name = shlex.quote(str(store.path))
            yield Text(
                f"Listed are the {LATEST} of {len(store.records):,} runs that finished last. By level: attnlab report "
                f"{name}. All, one line each: attnlab ls results {name} --sort id, or as JSON with --json."
            )

    def data(self) -> list[dict[str, Any]]:
        """The ids of the runs of each store by status, as plain data."""
        return [
            {
                "store": str(one.path),
                "done": [record.id for record in one.done],
                "missing": [planned.id for planned in one.missing],
                "failed": {record.id: record.reason for record in one.failed},
                "diverged": {record.id: record.reason for record in one.diverged},
                "checkpoints": {run: checkpoint.step for run, checkpoint in one.checkpoints.items()},
                "stale": dict(one.stale),
                "replaced": dict(one.replaced),
            }
            for one in self.stores
        ]


def reasons(store: StoreStatus) -> list[Text]:
    """List why runs are not done.

    Args:
        store: The status of a store.

    Returns:
        One line per run, and one for the number of those that are not listed.
    """
    named = store.failed or store.diverged or store.stale
    labels = RunLabels(record.spec for record in store.records if named)
    missing = [(f"{one.id}  {one.summary}", "missing", _progress(store, one.id)) for one in store.missing]
    lines = _first(missing) + _first(_unfinished(store))
    lines += _first([(_named(record, labels), "failed", record.reason) for record in store.failed])
    lines += _first([(_named(record, labels), "diverged", record.reason) for record in store.diverged])
    stale = [record for record in store.records if record.id in store.stale]
    lines += _first([(_named(record, labels), "stale", _stale(store, record.id)) for record in stale])
    return [Text.assemble((f"{status}  ", "yellow"), summary, (f"  {why}", "dim")) for summary, status, why in lines]


def _named(record: Record, labels: RunLabels) -> str:
    return f"{record.id}  {labels.of(record.spec)}"


def _stale(store: StoreStatus, run: str) -> str:
    """Why a run is stale, and whether it was run again."""
    again = f"run again as {store.replaced[run]}" if run in store.replaced else "the same command runs it again"
    return f"{store.stale[run]}; {again}"


def _progress(store: StoreStatus, run: str) -> str:
    """Whether a missing run has a checkpoint."""
    checkpoint = store.checkpoints.get(run)
    if checkpoint is None:
        return "not started"
    return f"at {checkpoint.progress}; it resumes from its checkpoint" if checkpoint.readable else UNREADABLE


def _unfinished(store: StoreStatus) -> list[tuple[str, str, str]]:
    """The checkpoints of runs that are not planned here: of ``train``, or of a plan that has changed."""
    planned = {run.id for run in store.missing}
    rest = [checkpoint for run, checkpoint in store.checkpoints.items() if run not in planned]
    rest.sort(key=lambda checkpoint: checkpoint.summary)
    labels = RunLabels(one.spec for one in rest if one.spec)
    named = {one.run: str(labels.of(one.spec)) if one.spec else one.summary for one in rest}
    return [
        (
            f"{one.run}  {named[one.run]}" if named[one.run] else f"checkpoints/{one.run}.safetensors",
            "unfinished",
            f"at {one.progress}; the same sweep goes on, or train with --resume" if one.readable else UNREADABLE,
        )
        for one in rest
    ]


def _first(lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The first lines, and the number of the others."""
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([(f"and {more} more", lines[0][1], "")] if more > 0 else [])]
