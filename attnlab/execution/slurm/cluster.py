"""What the driver asks of a cluster: to submit jobs, to tell their states, to cancel them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.errors import InvalidValueError
from attnlab.execution.slurm.worker import Work

LAST_BYTES = 20_000
"""Bytes at the end of a log in which its last line is looked for."""


@dataclass(frozen=True)
class JobState:
    """What a cluster says of a job."""

    word: str
    """As SLURM has it, such as ``PENDING`` or ``TIMEOUT``."""
    reason: str = ""
    """Why it waits; empty where nothing is said."""
    job_name: str = ""
    index: int | None = None
    """The index in an array; None for a job of its own."""

    @property
    def ended(self) -> bool:
        """Whether the job is over, and is not queued again."""
        return self.word in ENDED

    @property
    def waits(self) -> bool:
        """Whether the job has not started."""
        return self.word in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")


ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)
"""States of jobs that are over."""


class Cluster(ABC):
    """Runs jobs that outlive this process."""

    name: str
    logs: Path
    """The folder of what jobs print."""
    at_once: int | None
    """How many jobs are submitted before one has ended; None for all: the cluster queues them."""
    patience: float
    """Seconds after which the files of a job that is over must be here."""
    ask_seconds: float
    """Seconds between two questions for the states of jobs."""
    read_seconds: float
    """Seconds between two looks at the files of jobs."""

    @property
    @abstractmethod
    def largest_array(self) -> int:
        """How many jobs may be submitted together."""

    @abstractmethod
    def submit(self, works: Sequence[Work], job_name: str) -> list[str]:
        """Submit jobs, as one array where they are several.

        Args:
            works: What each job is given.
            job_name: Their name on the cluster.

        Returns:
            Their ids, in order.

        Raises:
            InvalidValueError: The cluster refused them; it says why.
        """

    @abstractmethod
    def states(self, ids: Collection[str]) -> dict[str, JobState] | None:
        """Tell the states of jobs.

        Args:
            ids: Their ids.

        Returns:
            Id -> state, of these jobs and perhaps of others; a job that is not there is over, or was never here. None
            where the cluster does not answer.
        """

    @abstractmethod
    def cancel(self, ids: Collection[str]) -> None:
        """Cancel jobs; their checkpoints are saved.

        Args:
            ids: Their ids.
        """

    def close(self, running: Collection[str]) -> None:  # noqa: B027 - a hook
        """Let go of the jobs.

        Args:
            running: Ids of those that go on.
        """


def log_of(cluster: Cluster, cluster_id: str) -> Path:
    """Find what a job printed on its standard error.

    Args:
        cluster: Where it ran.
        cluster_id: The id of the job.

    Returns:
        The file, which need not be there.
    """
    return cluster.logs / f"{cluster_id}_0_log.err"


def last_line(log: Path) -> str:
    """The last line of a log that says something.

    Args:
        log: The file.

    Returns:
        The line; empty where there is none.
    """
    lines = _last_lines(log)
    # srun tells that a task ended after the task itself has told why, and submitit tells of every signal.
    noise = r"(srun|slurmstepd\S*|submitit (INFO|WARNING))\b"
    told = [line.strip() for line in lines if line.strip() and not re.match(noise, line)]
    return told[-1] if told else next((line.strip() for line in reversed(lines) if line.strip()), "")


def ran_out_of_memory(log: Path) -> bool:
    """Tell whether SLURM killed a job for its memory, by what its step daemon wrote in the log.

    The state of such a job is OUT_OF_MEMORY only where the kernel killed it (``task/cgroup``). Where SLURM itself
    watches memory (``OverMemoryKill``) it is FAILED, and nothing is known once squeue has forgotten the job.

    Args:
        log: The file.

    Returns:
        Whether it did.
    """
    said = re.compile(r"slurmstepd\S*: error: .*(exceeded (job|step)? ?memory limit|oom[_-]kill)", re.IGNORECASE)
    return any(said.match(line) for line in _last_lines(log))


def _last_lines(log: Path) -> list[str]:
    """The lines at the end of a log; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def import_submitit() -> None:
    """Check that submitit is installed.

    Raises:
        InvalidValueError: It is not; the hint has the command that installs it.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        hint = "Install it with: pip install 'attnlab[slurm]'."
        raise InvalidValueError("submitit is not installed here.", hint, where="--executor slurm") from None


def short_ids(ids: Collection[str]) -> str:
    """Write the ids of jobs briefly, those of an array together.

    >>> short_ids(["12_0", "12_1", "12_2", "12_7", "14"])
    '12_[0-2,7], 14'

    Args:
        ids: The ids.

    Returns:
        One line.
    """
    arrays: dict[str, list[int]] = {}
    for one in ids:
        array, _, index = one.partition("_")
        arrays.setdefault(array, [])
        if index.isdigit():
            arrays[array].append(int(index))
    return ", ".join(
        f"{array}_[{_ranges(sorted(indices))}]" if len(indices) > 1 else f"{array}_{indices[0]}" if indices else array
        for array, indices in arrays.items()
    )


def _ranges(numbers: list[int]) -> str:
    """Write increasing numbers as ranges."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
