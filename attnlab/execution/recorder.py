"""The result recorder: writes what workers send. Only the driver writes; records are on disk within a second."""

from __future__ import annotations

import math
import time
from typing import final

from attnlab.execution.jobs import (
    Failed,
    Finished,
    Message,
    Progressed,
    Ready,
    Recorded,
    Saved,
    Stopped,
    Tick,
    TrainedWeights,
)
from attnlab.records import Record, Score
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.training.events import Progress, RunFinished

FLUSH_SECONDS = 0.25
"""Seconds for which records may wait for others, to be written together."""


@final
class ResultRecorder:
    """Takes every message of a sweep.

    Args:
        store: Where records, checkpoints and weights are written.
        progress: Takes every training event.
    """

    def __init__(self, store: Store, progress: Progress) -> None:
        self.store, self.progress = store, progress
        self.records: dict[str, Record] = {}
        """Run id -> record of every run that finished since this recorder was made."""
        self.stopped = 0
        """Number of jobs that were interrupted."""
        self._pending: list[Record] = []
        self._last_flush = time.monotonic()

    def __call__(self, message: Message) -> None:
        """Store what a message carries."""
        match message:
            case Progressed(event):
                self.progress(event)
            case Saved(run, arrays, metadata):
                self.store.save(run, arrays, metadata)
            case TrainedWeights(run, arrays):
                self.store.save_weights(run, arrays)
            case Recorded(records) | Finished(_, records):
                self._add(records)
            case Failed(job, reason):
                failures = tuple(failure_record(spec, reason) for spec in job.specs if spec.id not in self.records)
                self._add(failures)
                for record in failures:
                    self.progress(RunFinished(record))
            case Stopped():
                self.stopped += 1
            case Ready() | Tick():
                pass
        if self._pending and time.monotonic() - self._last_flush > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the pending records, then delete the checkpoints of their runs.

        Raises:
            StoreError: The journal cannot be written; its earlier records stay readable.
        """
        if self._pending:
            self.store.append(self._pending)
            for record in self._pending:
                self.store.drop(record.id)
        self._pending = []
        self._last_flush = time.monotonic()

    def _add(self, records: tuple[Record, ...]) -> None:
        """Add records to those that are pending."""
        self._pending += records
        self.records |= {record.id: record for record in records}


def failure_record(spec: RunSpec, reason: str) -> Record:
    """Make the record of a run that failed before it had a result.

    Args:
        spec: The run.
        reason: Why it failed, in one line.

    Returns:
        A record of status ``failed`` with zero steps and empty scores.
    """
    empty = Score(correct=0, total=0, chance=math.nan)
    return Record(
        id=spec.id,
        spec=spec,
        status="failed",
        reason=reason,
        steps=0,
        accuracy=empty,
        exact_match=empty,
        environment={"ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
    )
