"""A rehearsal of a cluster: submitit's local executor runs the jobs as processes of this machine.

They outlive the driver as jobs of a cluster do, which makes it possible to try a sweep, and to test this package,
without a cluster.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import psutil

from attnlab.execution.slurm.cluster import Cluster, JobState, import_submitit
from attnlab.execution.slurm.folder import LOGS
from attnlab.execution.slurm.options import JobRequest
from attnlab.execution.slurm.real import THREAD_VARIABLES
from attnlab.execution.slurm.worker import Work, work
from attnlab.execution.starting import changed_environment, sigint_blocked


@contextmanager
def no_output() -> Iterator[None]:
    """Within this context, new processes have no output: one that outlived the driver would hold its pipe open."""
    before = [os.dup(descriptor) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
    finally:
        for descriptor, old in zip((1, 2), before, strict=True):
            os.dup2(old, descriptor)
            os.close(old)
        os.close(nowhere)


END_SECONDS = 10.0
"""Seconds in which the process of a job that is over must end."""


@final
class Rehearsal(Cluster):
    """This machine in place of a cluster.

    Args:
        store: The folder of results.
        request: What each job asks for; cores are threads, and the other resources of a cluster are not looked at.
        parallel: Jobs that run at the same time, at most.

    Raises:
        InvalidValueError: submitit is missing.
    """

    name = "local"
    patience, ask_seconds, read_seconds = 2.0, 0.5, 0.2

    def __init__(self, store: Path, request: JobRequest, parallel: int) -> None:
        import_submitit()
        self.logs = (store / LOGS).resolve()
        self.request = request
        self.at_once: int | None = parallel
        self.started: dict[str, Any] = {}
        """Id -> the job, of those that this process started: it has to wait for them."""

    @property
    def largest_array(self) -> int:
        """As many as may run."""
        return self.at_once or 1

    def submit(self, works: Sequence[Work], job_name: str) -> list[str]:
        """Start a process for each job."""
        import submitit

        threads = dict.fromkeys(THREAD_VARIABLES, str(self.request.cpus))
        # Ctrl-C and a closed terminal reach every process of the driver's group, and jobs are to outlive it.
        hang_up = frozenset({signal.SIGHUP})
        gone = [name for name in os.environ if name.startswith("SUBMITIT_")]
        variables = changed_environment(gone, PYTHONSAFEPATH="1", **threads)
        with sigint_blocked(hang_up), no_output(), variables:
            executor = submitit.LocalExecutor(folder=self.logs)
            executor.update_parameters(
                timeout_min=self.request.minutes,
                signal_delay_s=self.request.signal_seconds,
                gpus_per_node=self.request.gpus,
            )
            jobs = [executor.submit(functools.partial(work, one)) for one in works]
        self.started |= {job.job_id: job for job in jobs}
        return [job.job_id for job in jobs]

    def states(self, ids: Collection[str]) -> dict[str, JobState] | None:
        """Look for the processes."""
        return {one: JobState("RUNNING") for one in ids if self._lives(one)}

    def cancel(self, ids: Collection[str]) -> None:
        """Ask the processes to end."""
        for one in ids:
            if self._lives(one):
                with suppress(ProcessLookupError):
                    os.kill(int(one), signal.SIGTERM)

    def close(self, running: Collection[str]) -> None:
        """Wait for the processes of jobs that are over; those that go on become nobody's children."""
        started, self.started = self.started, {}
        for one, job in started.items():
            process = job._process
            if one not in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=END_SECONDS)
            if process.returncode is None:
                process.returncode = 0  # it is meant to outlive this object, which warns of it otherwise

    def _lives(self, cluster_id: str) -> bool:
        """Whether the process that watches a job runs."""
        if job := self.started.get(cluster_id):
            return job.get_info()["jobState"] == "RUNNING"
        if not cluster_id.isdigit():
            return False
        try:
            process = psutil.Process(int(cluster_id))
            return process.status() != psutil.STATUS_ZOMBIE and str(self.logs) in process.cmdline()
        except psutil.Error:
            return False
