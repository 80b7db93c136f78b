"""The clerk: keeps what workers tell. The driver alone writes, and records are durable within a second."""

from __future__ import annotations

import math
import time
from typing import final

from attnlab.execution.jobs import Failed, Finished, Learned, Message, Progressed, Ready, Recorded, Saved, Stopped, Tick
from attnlab.records import Record, Score
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.training.events import Progress, RunFinished
from attnlab.training.loop import group_name

FLUSH_SECONDS = 0.25
"""Seconds for which records may wait for others, to be written together."""


@final
class ResultRecorder:
    """Takes every message of a sweep.

    Args:
        store: Where records, checkpoints and weights are kept.
        progress: Takes every event of the trainings.
    """

    def __init__(self, store: Store, progress: Progress) -> None:
        self.store, self.progress = store, progress
        self.records: dict[str, Record] = {}
        """What was finished since the clerk began, by id."""
        self.stopped = 0
        """Jobs that were interrupted."""
        self._waiting: list[Record] = []
        self._names: list[str] = []
        self._written = time.monotonic()

    def __call__(self, message: Message) -> None:
        """Keep what a message brings."""
        match message:
            case Progressed(event):
                self.progress(event)
            case Saved(name, arrays, about):
                self.store.save(name, arrays, about)
            case Learned(run, arrays):
                self.store.save_weights(run, arrays)
            case Recorded(records):
                self._take(group_name([record.spec for record in records]), records)
            case Finished(name, records):
                self._take(name, records)
            case Failed(job, reason):
                failures = tuple(failure_record(spec, reason) for spec in job.specs if spec.id not in self.records)
                self._take(job.name, failures)
                for record in failures:
                    self.progress(RunFinished(record))
            case Stopped():
                self.stopped += 1
            case Ready() | Tick():
                pass
        if self._waiting and time.monotonic() - self._written > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits: first the records, then away with the checkpoints of their runs.

        Raises:
            StoreError: the journal cannot be written; what it holds already still reads.
        """
        if self._waiting:
            self.store.append(self._waiting)
            for name in self._names:
                self.store.drop(name)
        self._waiting, self._names = [], []
        self._written = time.monotonic()

    def _take(self, name: str, records: tuple[Record, ...]) -> None:
        self._waiting += records
        self._names.append(name)
        self.records |= {record.id: record for record in records}


def failure_record(spec: RunSpec, reason: str) -> Record:
    """The record of a run that could show nothing."""
    nothing = Score(correct=0, total=0, chance=math.nan)
    words = {"ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return Record(
        id=spec.id,
        spec=spec,
        status="failed",
        reason=reason,
        steps=0,
        accuracy=nothing,
        exact_match=nothing,
        environment=words,
    )
