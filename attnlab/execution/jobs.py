"""What executors exchange: jobs go to workers, messages come back to the driver, and only the driver writes.

driver  ── Job ──>  worker                a group of runs, with the checkpoints from which they go on
driver  <─ Message ─  worker              progress, checkpoints, weights, records, or the reason why there are none
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from attnlab.errors import AttnlabError, InterruptedTraining, LostStoreError
from attnlab.execution.worker_parts import WorkerParts
from attnlab.plugins import describe_exception
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.training.events import Event
from attnlab.training.interruption import Interruption
from attnlab.training.vmap_width import VmapWidth


@dataclass(frozen=True)
class Job:
    """A group of runs of one shape."""

    name: str
    specs: tuple[RunSpec, ...]
    checkpoints: Mapping[str, tuple[Arrays, Mapping[str, Any]]] = field(default_factory=dict)
    """Arrays and metadata of the checkpoint from which each run goes on, by id; runs without one begin anew."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker runs the jobs of a sweep."""

    device: str = "cpu"
    parts: WorkerParts = field(default_factory=WorkerParts)
    """The user's parts, which a worker makes known first."""
    threads: int | None = 1
    """Torch threads of a worker; None leaves the number to torch."""
    weights: bool = True
    """Whether the weights of finished runs are sent to the driver."""
    checkpoint_seconds: float = 20.0
    """Seconds between two checkpoints."""
    vmap: VmapWidth = "auto"
    """Number of runs that are trained as one vmapped program."""


@dataclass(frozen=True)
class Progressed:
    """A training event."""

    event: Event


@dataclass(frozen=True)
class Saved:
    """The checkpoint of a run."""

    run: str
    arrays: Arrays
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class TrainedWeights:
    """The weights of a finished run."""

    run: str
    arrays: Arrays


@dataclass(frozen=True)
class Recorded:
    """Some runs of a job are finished, others are not."""

    records: tuple[Record, ...]


@dataclass(frozen=True)
class Finished:
    """A job is finished; carries the records that were not sent before."""

    name: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Failed:
    """A job raised an exception, or its worker was lost."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Stopped:
    """A job was interrupted; the checkpoints of its runs were sent before."""

    name: str


@dataclass(frozen=True)
class Ready:
    """A worker has started, or cannot work and gives the reason."""

    error: tuple[str, str, str] = ("", "", "")
    """Problem, hint and location of the error; empty strings if the worker can work."""


@dataclass(frozen=True)
class Tick:
    """No news; sent regularly so that the driver can act on time alone."""


Message = Progressed | Saved | TrainedWeights | Recorded | Finished | Failed | Stopped | Ready | Tick
Send = Callable[[Message], None]
"""Receives every message; in the driver."""


class Executor(Protocol):
    """Runs jobs. Its workers are started once and stay until it is closed."""

    description: str
    """What runs the jobs, for tables and logs."""
    num_workers: int
    """Number of jobs that run at the same time."""
    settings: WorkerSettings
    left_running: str
    """What goes on without this process once ``run`` was interrupted, and how to come back to it; empty for nothing."""

    def run(self, jobs: Iterable[Job], send: Send, interruption: Interruption, /) -> None:
        """Run jobs until each of them has finished, failed or stopped.

        Jobs are taken as workers become free. Once ``interruption`` is requested no more jobs are taken, and the
        running ones stop at their next step.

        Args:
            jobs: The jobs; an iterator is consumed as workers become free.
            send: Receives every message.
            interruption: Set when the user presses Ctrl-C.
        """

    def close(self) -> None:
        """End the workers."""


class RemoteCheckpointer:
    """The checkpointer of a worker: sends checkpoints and weights to the driver.

    The optimizer state of finished runs is not sent: it is twice the size of the weights, and a sweep has many runs.

    Args:
        job: The job that the worker runs.
        settings: Whether weights are sent.
        send: Takes the messages.
    """

    def __init__(self, job: Job, settings: WorkerSettings, send: Send) -> None:
        self.job, self.settings, self.send = job, settings, send

    def save(self, run: str, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
        """Send the checkpoint of a run.

        Args:
            run: The id of the run.
            arrays: Name -> array of everything that training needs to continue.
            metadata: JSON values beside the arrays.
        """
        self.send(Saved(run, arrays, metadata))

    def load(self, run: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Find the checkpoint of a run that came with the job.

        Args:
            run: The id of the run.

        Returns:
            Arrays and metadata; None if the run has no checkpoint.
        """
        checkpoint = self.job.checkpoints.get(run)
        return (checkpoint[0], dict(checkpoint[1])) if checkpoint else None

    def save_weights(self, run: str, weights: Arrays) -> None:
        """Send the weights of a finished run.

        Args:
            run: The id of the run.
            weights: Name -> array of each parameter.
        """
        if self.settings.weights:
            self.send(TrainedWeights(run, weights))

    def save_optimizer(self, run: str, state: Arrays) -> None:
        """Keep nothing.

        Args:
            run: The id of the run.
            state: Name -> array of the optimizer's state.
        """


def run_job(job: Job, settings: WorkerSettings, send: Send) -> None:
    """Run one job in this process; every outcome is sent as a message, exceptions too.

    Args:
        job: The runs to train.
        settings: Device, seconds between checkpoints, vmapped runs.
        send: Receives the messages. The last one is :class:`Finished`, :class:`Failed` or :class:`Stopped`.
    """
    from attnlab.training.environment import device
    from attnlab.training.run import train_groups
    from attnlab.training.run_parts import changed_parts

    def progress(event: Event) -> None:
        send(Progressed(event))

    try:
        if changed := changed_parts(job.specs[0]):
            part = changed[0]
            reason = (
                f"the {part.kind} '{part.name}' has changed since the sweep was planned, to {part.entry.code.place}"
            )
            send(Failed(job, f"{reason}; run the same command again"))
            return
        last: list[Record] = []
        groups = train_groups(
            job.specs,
            progress,
            device=device(settings.device),
            checkpointer=RemoteCheckpointer(job, settings, send),
            resume=True,
            checkpoint_seconds=settings.checkpoint_seconds,
            vmap=settings.vmap,
        )
        for records in groups:
            if len(records) == len(job.specs):
                last = records
            else:
                send(Recorded(tuple(records)))
    except InterruptedTraining:
        send(Stopped(job.name))
    except LostStoreError:  # of the store that messages are written to, where there are no workers
        raise
    except AttnlabError as error:
        send(Failed(job, " ".join(str(error).split())))
    except Exception as error:  # an exception fails this run's record, not the sweep
        send(Failed(job, describe_exception(error).replace("\n", " ")))
    else:
        send(Finished(job.name, tuple(last)))


def remaining_job(job: Job, message: Message) -> Job:
    """Find what is left of a job after a message of its worker, for the next worker in case this one is lost.

    Args:
        job: The job before the message.
        message: A checkpoint replaces that of its run; records remove their runs; others change nothing.

    Returns:
        The job with the remaining runs and the last checkpoint of each.
    """
    match message:
        case Saved(run, arrays, metadata) if run in {spec.id for spec in job.specs}:
            return replace(job, checkpoints={**job.checkpoints, run: (arrays, metadata)})
        case Recorded(records):
            done = {record.id for record in records}
            rest = tuple(spec for spec in job.specs if spec.id not in done)
            kept = {run: checkpoint for run, checkpoint in job.checkpoints.items() if run not in done}
            return job if len(rest) == len(job.specs) else Job(group_name(rest), rest, kept)
    return job


def group_name(specs: Sequence[RunSpec]) -> str:
    """Name the job of a group of runs.

    Args:
        specs: The runs.

    Returns:
        The id of the run, or a hash of the ids of several.
    """
    ids = [spec.id for spec in specs]
    return ids[0] if len(ids) == 1 else hashlib.sha256("-".join(ids).encode()).hexdigest()[:12]
