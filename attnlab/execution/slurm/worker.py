"""What runs in a job of the cluster: its groups of runs, until they are done or its time is up.

Before its time is up the cluster sends a signal. The runs then stop at their next step, checkpoints are written, and
the job asks to be queued again; where it cannot, the driver submits what is left. A job that took no step in its whole
time is not queued again. SIGTERM, which cancelled and preempted jobs get, saves checkpoints too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from attnlab.errors import AttnlabError, StoreError
from attnlab.execution.jobs import Executor, Job, WorkerSettings, group_name
from attnlab.execution.slurm.folder import JobFolder
from attnlab.execution.slurm.lines import CannotWork, Ended, JobStarted, Outcome, Result, RunsFailed
from attnlab.execution.slurm.outbox import Outbox
from attnlab.specs import RunSpec
from attnlab.storage import weights
from attnlab.storage.arrays import Arrays
from attnlab.training.interruption import Interruption, polling

TIME_IS_UP = signal.SIGUSR2
"""What submitit has SLURM send before the end of a job's time."""
ASKED = frozenset({signal.SIGUSR2, signal.SIGTERM})
"""Signals that a cluster sends to every process of a job."""


@dataclass(frozen=True)
class Work:
    """What a job is given; it can be pickled."""

    folder: str
    groups: tuple[tuple[RunSpec, ...], ...]
    settings: WorkerSettings
    cpus: int
    """Cores of the job, where its environment does not say."""
    search_path: tuple[str, ...] = ()
    """Where the driver finds modules, after the job's own path."""


def work(given: Work) -> str:
    """Run a job; every outcome is written to its folder.

    Args:
        given: What it is given.

    Returns:
        How it ended.
    """
    sys.path += [entry for entry in given.search_path if entry not in sys.path]
    outbox = Outbox(JobFolder(Path(given.folder)))
    interruption = Interruption()
    reasons: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        reasons.append(number)
        interruption.requested = True

    for number in ASKED:
        signal.signal(number, stop)
    cores = allocated_cores(os.environ, given.cpus)
    outbox.write(JobStarted(cluster_id=own_id(os.environ), host=socket.gethostname(), threads=cores))
    try:
        _train(given, cores, outbox, interruption)
    except AttnlabError as error:
        outbox.write(CannotWork(problem=error.problem, hint=error.hint, where=error.where))
        raise
    outcome: Outcome = "done"
    if interruption.requested:
        outcome = "time" if TIME_IS_UP in reasons else "asked"
        if outcome == "time":
            outcome = "requeued" if outbox.progressed else "stuck"
    outbox.write(Ended(outcome=outcome))
    if outcome == "requeued" and not requeue():
        outcome = "time"
        outbox.write(Ended(outcome=outcome))
    outbox.close()
    return outcome


def _train(given: Work, cores: int, outbox: Outbox, interruption: Interruption) -> None:
    """Train what an earlier start of this job has not finished."""
    import torch

    from attnlab.execution._inline import Inline
    from attnlab.execution.processes import Processes
    from attnlab.execution.worker_parts import load_worker_parts

    side_by_side = len(given.groups) > 1 and cores > 1 and given.settings.device == "cpu"
    torch.set_num_threads(1 if side_by_side else cores)
    load_worker_parts(given.settings.parts)
    jobs = remaining_jobs(outbox.folder, given.groups)
    executor: Executor = Inline(replace(given.settings, threads=None))
    if side_by_side and len(jobs) > 1:
        executor = Processes(min(cores, len(jobs)), replace(given.settings, threads=1), ASKED)
    try:
        with polling(interruption):
            executor.run(iter(jobs), outbox, interruption)
    finally:
        executor.close()


def remaining_jobs(folder: JobFolder, groups: tuple[tuple[RunSpec, ...], ...]) -> list[Job]:
    """Tell what is left of a job, with the checkpoints of its runs.

    Args:
        folder: The folder of the job.
        groups: All its groups.

    Returns:
        The groups that have runs without a result.
    """
    ended: set[str] = set()
    for line, _ in folder.lines():
        if isinstance(line, Result):
            ended.add(line.record.id)
        elif isinstance(line, RunsFailed):
            ended.update(line.runs)
    jobs = []
    for group in groups:
        if rest := tuple(spec for spec in group if spec.id not in ended):
            found = {spec.id: load_checkpoint(folder, spec.id) for spec in rest}
            jobs.append(Job(group_name(rest), rest, {run: one for run, one in found.items() if one}))
    return jobs


def load_checkpoint(folder: JobFolder, run: str) -> tuple[Arrays, dict[str, Any]] | None:
    """Read the checkpoint of a run.

    Args:
        folder: The folder of the job.
        run: The id of the run.

    Returns:
        Arrays and metadata; None where there is none that can be read.
    """
    path = folder.checkpoint(run)
    try:
        return weights.read(path) if path.exists() else None
    except StoreError:
        return None


def allocated_cores(environment: Mapping[str, str], asked: int) -> int:
    """Tell how many cores a job may use: it sees all of its node unless the cluster binds it.

    >>> allocated_cores({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 1), allocated_cores({}, 2)
    (4, 2)

    Args:
        environment: The variables of the job.
        asked: What was asked for, where they do not say.

    Returns:
        Number of cores, at least 1.
    """
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if (text := environment.get(name, "")).isdigit() and int(text):
            return int(text)
    return max(1, asked)


def own_id(environment: Mapping[str, str]) -> str:
    """The id of the job that this process belongs to.

    >>> own_id({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"})
    '12_3'

    Args:
        environment: The variables of the job.

    Returns:
        The id; that of a process on this machine where there is no cluster.
    """
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID") or environment.get("SUBMITIT_LOCAL_JOB_ID", "")


def requeue() -> bool:
    """Ask the cluster to run this job again.

    Returns:
        Whether it will; ends this process at once where that is how the cluster is asked.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

        sys.exit(LOCAL_REQUEUE_RETURN_CODE)
    try:
        command = ["scontrol", "requeue", own_id(os.environ)]
        # A negative status is a signal: SLURM ends every process of this job, scontrol too, once it has heard of it.
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode <= 0
    except (OSError, subprocess.SubprocessError):  # some clusters have no scontrol on their nodes
        return False
