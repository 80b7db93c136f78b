"""What executors carry: jobs to workers, and messages back to the driver, which alone writes.

driver  ── Job ──>  worker                a bundle of runs, with the checkpoint it goes on from
driver  <─ Message ─  worker              progress, checkpoints, weights, records, or why there are none
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from attnlab.errors import AttnlabError, InterruptedTraining
from attnlab.records import Record
from attnlab.registry import describe_exception
from attnlab.specs import RunSpec
from attnlab.training.events import Event
from attnlab.training.interruption import Interruption
from attnlab.training.loop import group_name
from attnlab.training.stepper import Arrays
from attnlab.training.vmap_width import VmapWidth


@dataclass(frozen=True)
class Job:
    """A bundle of runs."""

    name: str
    specs: tuple[RunSpec, ...]
    checkpoint: tuple[Arrays, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class WorkerSettings:
    """How the jobs of a sweep are worked through."""

    device: str = "cpu"
    files: tuple[Path, ...] = ()
    """What a worker runs first, so that it knows the user's parts."""
    threads: int | None = 1
    """Threads of a worker; None leaves the choice to torch."""
    weights: bool = True
    """Whether the weights of finished runs are sent back."""
    checkpoint_seconds: float = 20.0
    """Seconds between two checkpoints."""
    vmap: VmapWidth = "auto"
    """Runs that are stacked into one program."""


@dataclass(frozen=True)
class Progressed:
    """A training goes on."""

    event: Event


@dataclass(frozen=True)
class Saved:
    """A checkpoint."""

    name: str
    arrays: Arrays
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Learned:
    """The weights of a finished run."""

    run: str
    arrays: Arrays


@dataclass(frozen=True)
class Recorded:
    """Some runs of a job are done, others still to come."""

    records: tuple[Record, ...]


@dataclass(frozen=True)
class Finished:
    """A job is done; the records that were not told before."""

    name: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Failed:
    """A job raised, or its worker was lost."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Stopped:
    """A job was interrupted; its checkpoint came before."""

    name: str


@dataclass(frozen=True)
class Ready:
    """A worker is there; or it cannot work, and says why."""

    refused: tuple[str, str, str] = ("", "", "")
    """What was found, what would help, and where; nothing if it can work."""


@dataclass(frozen=True)
class Tick:
    """Time passes."""


Message = Progressed | Saved | Learned | Recorded | Finished | Failed | Stopped | Ready | Tick
Send = Callable[[Message], None]
"""Takes every message, in the driver."""


class Executor(Protocol):
    """Something that works through jobs. Its workers are started once, and stay until it is closed."""

    description: str
    """What it is, for a person."""
    num_workers: int
    """Jobs that are worked on at once."""
    settings: WorkerSettings

    def run(self, jobs: Iterable[Job], post: Send, interruption: Interruption) -> None:
        """Work until every job has been finished, has failed or was stopped.

        Jobs are taken as workers become free. Once ``interruption`` is asked for, no more are taken, and those on
        their way are stopped at their next step.
        """

    def close(self) -> None:
        """Let the workers go."""


class RemoteCheckpointer:
    """The vault of a worker: what is to be kept is sent to the driver."""

    def __init__(self, job: Job, setting: WorkerSettings, post: Send) -> None:
        self.job, self.settings, self.send = job, setting, post

    def save(self, name: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """Send a checkpoint."""
        self.send(Saved(name, arrays, about))

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The checkpoint that came with the job, if it is of all its runs together."""
        saved = self.job.checkpoint
        return (saved[0], dict(saved[1])) if saved and name == self.job.name else None

    def save_weights(self, run: str, weights: Arrays) -> None:
        """Send the weights of a finished run."""
        if self.settings.weights:
            self.send(Learned(run, weights))


def run_job(job: Job, setting: WorkerSettings, post: Send) -> None:
    """Do one job, wherever this is; whatever happens is told."""
    from attnlab.training.environment import device
    from attnlab.training.run import train_groups

    def progress(event: Event) -> None:
        post(Progressed(event))

    try:
        mail = RemoteCheckpointer(job, setting, post)
        place = device(setting.device)
        how: dict[str, Any] = {"resume": True, "pause": setting.checkpoint_seconds, "lanes": setting.vmap}
        whole: list[Record] = []
        for records in train_groups(job.specs, progress, device=place, checkpointer=mail, **how):
            if len(records) == len(job.specs):
                whole = records
            else:
                post(Recorded(tuple(records)))
    except InterruptedTraining:
        post(Stopped(job.name))
    except AttnlabError as error:
        post(Failed(job, " ".join(str(error).split())))
    except Exception as error:  # one run's fault is that run's record, never the sweep's end
        post(Failed(job, describe_exception(error).replace("\n", " ")))
    else:
        post(Finished(job.name, tuple(whole)))


def remaining_job(job: Job, message: Message) -> Job:
    """What is left of a job after a message of its worker: for the next one, should this one be lost."""
    match message:
        case Saved(name, arrays, about) if name == job.name:
            return replace(job, checkpoint=(arrays, about))
        case Recorded(records):
            done = {record.id for record in records}
            rest = tuple(spec for spec in job.specs if spec.id not in done)
            return job if len(rest) == len(job.specs) else Job(group_name(rest), rest)
    return job
