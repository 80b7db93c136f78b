"""The job's side of its folder: messages of its runs become lines and files."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import final

from attnlab.execution.jobs import (
    Failed,
    Finished,
    Message,
    Progressed,
    Recorded,
    Saved,
    TrainedWeights,
)
from attnlab.execution.slurm.folder import JobFolder
from attnlab.execution.slurm.lines import Checkpointed, Line, Result, RunsFailed, Steps, Weights, encode, event_line
from attnlab.storage import weights

STEPS_SECONDS = 1.0
"""Seconds between two lines on the steps of a run: file systems of clusters are slow and shared."""
BEAT_SECONDS = 10.0
"""Seconds between two signs of life."""


@final
class Outbox:
    """Writes what a job does.

    Args:
        folder: The folder of the job.
    """

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.progressed = False
        """Whether a run has taken a step, or has ended, since this start of the job."""
        self._steps: dict[str, tuple[Steps, float]] = {}
        """Run id -> the steps that are not written yet, and when the last line was."""
        self._closed = threading.Event()
        with folder.messages.open("ab+") as file:
            file.seek(0, os.SEEK_END)
            if end := file.tell():
                file.seek(end - 1)
                if file.read(1) != b"\n":  # an earlier start of this job was killed within a line
                    file.write(b"\n")
        threading.Thread(target=self._beat, daemon=True, name="says that the job lives").start()

    def __call__(self, message: Message) -> None:
        """Write what a message carries."""
        match message:
            case Progressed(event):
                line = event_line(event)
                if isinstance(line, Steps):
                    self._add_steps(line)
                elif line:
                    self.write(line)
            case Saved(run, arrays, about):
                weights.write(self.folder.checkpoint(run), arrays, about)
                self.write(Checkpointed(run=run, step=int(about.get("step", 0))))
            case TrainedWeights(run, arrays):
                weights.write(self.folder.weights(run), arrays, {"id": run})
                self.write(Weights(run=run))
            case Recorded(records) | Finished(_, records):
                self.progressed |= bool(records)
                for record in records:
                    self.write(Result(record=record))
            case Failed(job, reason):
                self.progressed = True
                self.write(RunsFailed(runs=tuple(spec.id for spec in job.specs), reason=reason))

    def write(self, line: Line) -> None:
        """Write a line, and the steps that were taken before it.

        Args:
            line: The line.
        """
        waiting = [steps for steps, _ in self._steps.values() if steps.tokens]
        self._steps = {run: (steps.model_copy(update={"tokens": 0}), at) for run, (steps, at) in self._steps.items()}
        with self.folder.messages.open("ab") as file:
            file.write(b"".join(map(encode, [*waiting, line])))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """End the signs of life."""
        self._closed.set()

    def _add_steps(self, line: Steps) -> None:
        """Keep the latest steps of each run, and write them once a second."""
        self.progressed = True
        before, at = self._steps.get(line.run, (None, 0.0))
        line = line.model_copy(update={"tokens": line.tokens + (before.tokens if before else 0)})
        if (now := time.monotonic()) - at < STEPS_SECONDS:
            self._steps[line.run] = line, at
            return
        self._steps[line.run] = line.model_copy(update={"tokens": 0}), now
        self.write(line)

    def _beat(self) -> None:
        while not self._closed.is_set():
            with suppress(OSError):
                self.folder.heartbeat.touch()
            self._closed.wait(BEAT_SECONDS)
