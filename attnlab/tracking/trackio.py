"""trackio: runs of the project ``attnlab`` in trackio's own folder, where ``trackio show`` finds them.

The folder is the one that trackio uses (``TRACKIO_DIR``, or its cache), not one below the store: trackio reads its
place once for a whole process, and several stores may be mirrored in one. Rows are written through ``SQLiteStorage``,
which ``trackio.Run`` writes through too. ``trackio.init`` is not used: it prints, it ends the run that is open, and a
run that cannot be written only warns.

Source: trackio 0.43, ``trackio.sqlite_storage.SQLiteStorage``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from attnlab.tracking.base import TrackedRun, Tracker, register

PROJECT = "attnlab"
"""The project of all runs, unless TRACKIO_PROJECT names another; a sweep is a group in it."""
RESULTS = "results"
"""The value that has the results as a table; a run that has it is finished."""
FLUSH_SECONDS = 3.0
"""Seconds between two writes: each takes a lock and a transaction."""


@dataclass
class OpenRun:
    """A run with what is not written yet."""

    name: str
    config: dict[str, Any]
    """Written with the first row; empty from then on."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    times: list[str] = field(default_factory=list)


@final
@register("trackio", source="https://huggingface.co/docs/trackio")
class Trackio(Tracker):
    """trackio: rows of the project attnlab in trackio's own folder, for trackio show."""

    extra = package = "trackio"

    def __init__(self, store: Path, group: str) -> None:
        super().__init__(store, group)
        from trackio.sqlite_storage import SQLiteStorage

        self.storage: Any = SQLiteStorage
        self.project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        self.storage.validate_project_name(self.project)
        self.runs: dict[str, OpenRun] = {}
        """Run id -> the run."""
        self.written = 0.0

    def start(self, run: TrackedRun, step: int) -> None:
        """Open a run; rows beyond the step are deleted."""
        kept = [row for row in self._rows(run) if step and row["step"] <= step and RESULTS not in row]
        self.storage.delete_run(self.project, run.name, run_id=run.spec.id)
        config = {**run.config, "_Group": self.group or None, "_Created": _now()}
        self.runs[run.spec.id] = opened = OpenRun(run.name, config)
        for row in kept:
            opened.steps.append(row.pop("step"))
            opened.times.append(str(row.pop("timestamp")))
            opened.rows.append(row)

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Keep a row until the next write."""
        self._add(run, step, dict(values))

    def finish(self, run: str, step: int, values: Mapping[str, float], table: str) -> None:
        """Write the results as numbers and as a text of Markdown."""
        from trackio.markdown import Markdown

        self._add(run, step, {**values, RESULTS: Markdown(table)._to_dict()})
        self._write(run)
        del self.runs[run]

    def has_finished(self, run: TrackedRun) -> bool:
        """Look for the row with the results."""
        return any(RESULTS in row for row in self._rows(run))

    def flush(self) -> None:
        """Write all rows, at most once in :data:`FLUSH_SECONDS`."""
        if time.monotonic() - self.written >= FLUSH_SECONDS:
            for run in self.runs:
                self._write(run)
            self.written = time.monotonic()

    def close(self) -> None:
        """Write all rows of runs that are still open."""
        for run in self.runs:
            self._write(run)
        self.runs.clear()

    def _rows(self, run: TrackedRun) -> list[dict[str, Any]]:
        """What trackio has of a run: values with step and timestamp."""
        rows: list[dict[str, Any]] = self.storage.get_logs(self.project, run.name, run_id=run.spec.id)
        return rows

    def _add(self, run: str, step: int, row: dict[str, Any]) -> None:
        opened = self.runs[run]
        opened.rows.append(row)
        opened.steps.append(step)
        opened.times.append(_now())

    def _write(self, run: str) -> None:
        """Write the rows of a run in one transaction, with its config the first time."""
        opened = self.runs[run]
        if not opened.rows:
            return
        words: dict[str, Any] = {"run_id": run, "steps": opened.steps, "timestamps": opened.times}
        self.storage.bulk_log(self.project, opened.name, opened.rows, config=opened.config or None, **words)
        self.runs[run] = OpenRun(opened.name, {})


def _now() -> str:
    """The time as trackio writes it."""
    return datetime.now(UTC).isoformat()
