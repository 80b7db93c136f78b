"""The folder of a job in the store, through which the job and the driver talk.

submission.json     what was submitted, as what: written by the driver
messages.jsonl      what the job has done so far: appended to by the job
heartbeat           touched by the job while it lives
checkpoints/RUN     where each run can go on
weights/RUN         what a finished run learned, until the driver has taken it
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from attnlab.execution.slurm.lines import Line, decode
from attnlab.specs import RunSpec, Value
from attnlab.storage.files import write_whole
from attnlab.storage.json_files import read_bounded

JOBS = Path("slurm") / "jobs"
"""Folders of jobs, in a store."""
LOGS = Path("slurm") / "logs"
"""What jobs print, and what submitit writes."""


class Submission(Value):
    """What was submitted to the cluster."""

    cluster: str
    job_name: str
    """The name of the job there, by which it is found should this process die before it knows the id."""
    index: int | None = None
    """The index in an array; None for a job of its own."""
    cluster_id: str = ""
    """The id on the cluster; empty until it is known."""
    submitted: float = 0.0
    """When, in seconds since 1970."""
    groups: tuple[tuple[RunSpec, ...], ...] = Field(min_length=1)
    """Groups of runs of one shape, trained one after the other or side by side."""

    @property
    def specs(self) -> tuple[RunSpec, ...]:
        """Every run of the job."""
        return tuple(spec for group in self.groups for spec in group)


@dataclass(frozen=True)
class JobFolder:
    """The paths of a job's files."""

    path: Path

    @property
    def messages(self) -> Path:
        """What the job has done so far."""
        return self.path / "messages.jsonl"

    @property
    def heartbeat(self) -> Path:
        """The file whose time of change says that the job lives."""
        return self.path / "heartbeat"

    def checkpoint(self, run: str) -> Path:
        """The checkpoint of a run.

        Args:
            run: Its id.

        Returns:
            The file.
        """
        return self.path / "checkpoints" / f"{run}.safetensors"

    def weights(self, run: str) -> Path:
        """The weights of a finished run.

        Args:
            run: Its id.

        Returns:
            The file.
        """
        return self.path / "weights" / f"{run}.safetensors"

    def write_submission(self, submission: Submission) -> None:
        """Write what is, or will be, submitted.

        Args:
            submission: The submission.

        Raises:
            StoreError: It cannot be written.
        """
        write_whole(self.path / "submission.json", submission.model_dump_json().encode() + b"\n")

    def submission(self) -> Submission | None:
        """Read what was submitted.

        Returns:
            The submission; None where nothing that can be read was.
        """
        try:
            return Submission.model_validate_json(read_bounded(self.path / "submission.json"))
        except (OSError, ValueError, ValidationError):
            return None

    def lines(self, start: int = 0) -> Iterator[tuple[Line, int]]:
        """Read what the job has written.

        Args:
            start: The byte to begin with.

        Yields:
            Each complete line, and the byte that follows it; lines that cannot be read are left out.
        """
        try:
            file = self.messages.open("rb")
        except OSError:
            return
        with file:
            file.seek(start)
            for text in file:
                if not text.endswith(b"\n"):
                    return  # it is being written
                start += len(text)
                if line := decode(text):
                    yield line, start

    def remove(self) -> None:
        """Remove the folder; what cannot be removed stays."""
        shutil.rmtree(self.path, ignore_errors=True)


def job_folders(store: Path) -> list[JobFolder]:
    """List the folders of jobs in a store.

    Args:
        store: The store.

    Returns:
        The folders, in the order of their names.
    """
    return [JobFolder(path) for path in sorted((store / JOBS).glob("*")) if path.is_dir()]
