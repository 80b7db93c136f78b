"""A job that the driver has submitted, or found: what it has written so far, and what is left of it."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

from attnlab.errors import PluginError, StoreError
from attnlab.execution.jobs import Failed, Job, Progressed, Recorded, Send, TrainedWeights, group_name
from attnlab.execution.slurm.cluster import JobState
from attnlab.execution.slurm.folder import JobFolder, Submission
from attnlab.execution.slurm.lines import (
    CannotWork,
    Checkpointed,
    Ended,
    JobStarted,
    Line,
    Outcome,
    Result,
    RunsFailed,
    Weights,
    line_event,
)
from attnlab.specs import RunSpec
from attnlab.storage import weights
from attnlab.training.events import RunFinished


class Flight:
    """A job and its folder.

    Args:
        folder: The folder.
        submission: What was submitted.
    """

    def __init__(self, folder: JobFolder, submission: Submission) -> None:
        self.folder, self.submission = folder, submission
        self.specs = {spec.id: spec for spec in submission.specs}
        self.shown: Collection[str] = self.specs.keys()
        """Ids of the runs whose events are passed on."""
        self.known: Collection[str] = ()
        """Ids of the runs whose results are in the store already; nothing more is said of them."""
        self.known_failures: Collection[str] = ()
        """Ids of the runs whose failures are in the store already."""
        self.started = False
        """Whether the job has ever started."""
        self.outcome: Outcome | None = None
        """How its last start ended; None while it runs, and where it was killed."""
        self.settled: set[str] = set()
        """Ids of the runs that have a result, or have failed."""
        self.reached: dict[str, int] = {}
        """Run id -> step of its checkpoint."""
        self.tries = 1
        """How often the job was submitted, since it last used its whole time."""
        self.missing_since: float | None = None
        """When the cluster first had no trace of it, or told that it is over, on the monotonic clock."""
        self.end: JobState | None = None
        """What the cluster told of its end; it forgets it after some minutes."""
        self.abandoned = False
        """Whether runs were recorded as failed whose checkpoints lie here, for the next command."""
        self.silence_told = False
        self._offset = 0
        self._begun_with = 0
        self._beat = (0.0, time.monotonic())

    @property
    def cluster_id(self) -> str:
        """The id on the cluster; empty where it is not known."""
        return self.submission.cluster_id

    @property
    def remaining(self) -> tuple[RunSpec, ...]:
        """The runs that have no result yet."""
        return tuple(spec for run, spec in self.specs.items() if run not in self.settled)

    @property
    def progressed(self) -> bool:
        """Whether its last start saved a checkpoint further on, or had a result."""
        return self._progress > self._begun_with

    @property
    def _progress(self) -> int:
        return sum(self.reached.values()) + sum(self.specs[run].train.max_steps for run in self.settled)

    def submitted_again(self, submission: Submission) -> None:
        """Note that what is left was submitted again.

        Args:
            submission: The new submission.
        """
        self.submission = submission
        self.outcome = self.missing_since = self.end = None
        self._begun_with = self._progress

    def silence(self) -> float:
        """Seconds for which this process has seen no sign of life."""
        with suppress(OSError):
            if (beat := self.folder.heartbeat.stat().st_mtime) != self._beat[0]:
                self._beat = beat, time.monotonic()
        return time.monotonic() - self._beat[1]

    def lived_within(self, seconds: float) -> bool:
        """Whether it gave a sign of life lately, as far as clocks agree.

        Args:
            seconds: What is lately.

        Returns:
            Whether it did.
        """
        try:
            return time.time() - self.folder.heartbeat.stat().st_mtime < seconds
        except OSError:
            return False

    def failures(self) -> set[str]:
        """Read which runs raised an exception, without passing anything on.

        Returns:
            Their ids.
        """
        return {run for line, _ in self.folder.lines() if isinstance(line, RunsFailed) for run in line.runs}

    def read(self, send: Send) -> bool:
        """Pass on what the job has written since.

        Args:
            send: Receives the messages.

        Returns:
            Whether it has written anything.

        Raises:
            PluginError: The job cannot load the user's parts.
        """
        before = self._offset
        for line, offset in self.folder.lines(self._offset):
            self._offset = offset
            self._take(line, send)
        return self._offset != before

    def fail(self, reason: str, send: Send) -> None:
        """Record what is left as failed.

        Args:
            reason: Why.
            send: Receives the message.
        """
        rest = self.remaining
        self.abandoned |= any(spec.id in self.reached for spec in rest)
        self.settled |= {spec.id for spec in rest}
        if rest:
            send(Failed(Job(group_name(rest), rest), reason))

    def _take(self, line: Line, send: Send) -> None:
        match line:
            case JobStarted():
                self.started = True
                self.outcome = self.missing_since = self.end = None
                if not self.cluster_id:
                    self.submission = self.submission.model_copy(update={"cluster_id": line.cluster_id})
            case CannotWork():
                raise PluginError(f"A job of the cluster: {line.problem}", line.hint, where=line.where)
            case Ended():
                self.outcome = line.outcome
            case Checkpointed():
                self.reached[line.run] = line.step
            case Weights():
                if line.run in self.specs:
                    self._take_weights(line.run, send)
            case Result() if line.record.id in self.specs and line.record.id not in self.settled:
                self.settled.add(line.record.id)
                if line.record.id not in self.known:
                    send(Recorded((line.record,)))
                    if line.record.id in self.shown:
                        send(Progressed(RunFinished(line.record)))
            case RunsFailed():
                failed = tuple(self.specs[run] for run in line.runs if run in self.specs and run not in self.settled)
                self.settled |= {spec.id for spec in failed}
                if new := tuple(spec for spec in failed if spec.id not in self.known_failures):
                    send(Failed(Job(group_name(new), new), line.reason))
            case _:
                self._show(line, send)

    def _show(self, line: Line, send: Send) -> None:
        """Pass on the event of a run that is shown."""
        run = getattr(line, "run", "")
        wanted = run in self.shown and run in self.specs and run not in self.known
        if wanted and (event := line_event(line, self.specs[run])):
            send(Progressed(event))

    def _take_weights(self, run: str, send: Send) -> None:
        """Move the weights of a run to the store; an earlier driver may have done so."""
        path = self.folder.weights(run)
        if path.exists():
            with suppress(StoreError):
                send(TrainedWeights(run, weights.read(path)[0]))
                path.unlink(missing_ok=True)
