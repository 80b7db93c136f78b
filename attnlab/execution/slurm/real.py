"""A SLURM cluster: submitit submits, squeue and scancel do the rest.

submitit learns from sacct alone what became of a job. Many clusters have no accounting, and there a job that was
killed would run forever in its eyes; so squeue is asked, which tells states of jobs for some minutes after their end.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, final

from attnlab.errors import InvalidValueError
from attnlab.execution.slurm.cluster import Cluster, JobState, import_submitit
from attnlab.execution.slurm.folder import LOGS
from attnlab.execution.slurm.options import JobRequest
from attnlab.execution.slurm.worker import Work, work
from attnlab.execution.starting import changed_environment

COMMANDS = ("sbatch", "srun", "squeue", "scancel")
ANSWER_SECONDS = 60
"""Seconds within which a command of SLURM must answer; it waits itself while the controller is busy."""
LARGEST_ARRAY = 1000
"""Jobs of one array, where the cluster does not say how many it takes."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
STATES_FORMAT = "%i|%T|%K|%j|%r"
"""Id, state, index in the array, name, reason; the last may have any character."""


@final
class SlurmCluster(Cluster):
    """The cluster that this machine can submit to.

    Args:
        store: The folder of results; every node must see it under the same path.
        request: What each job asks for.
        parallel: Jobs that run at the same time, at most.

    Raises:
        InvalidValueError: submitit or a command of SLURM is missing.
    """

    name = "slurm"
    at_once: int | None = None
    patience, ask_seconds, read_seconds = 60.0, 15.0, 1.0

    def __init__(self, store: Path, request: JobRequest, parallel: int) -> None:
        import_submitit()
        check_commands()
        self.logs = (store / LOGS).resolve()
        self.request, self.parallel = request, parallel

    def submit(self, works: Sequence[Work], job_name: str) -> list[str]:
        """Submit jobs, as arrays of the size that the cluster takes; see :meth:`Cluster.submit`."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        parameters = sbatch_parameters(self.request, self.parallel, job_name)
        # A driver that runs in a job itself must not hand its own allocation on.
        inherited = [
            name for name in os.environ if re.match(r"SLURMD?_|SRUN_|SUBMITIT_", name) and name != "SLURM_CONF"
        ]
        tasks = [functools.partial(work, one) for one in works]
        # submitit prints what sbatch says, and raises it too.
        with contextlib.redirect_stderr(io.StringIO()), changed_environment(inherited):
            try:
                executor = submitit.SlurmExecutor(folder=self.logs)
                executor.update_parameters(**parameters)
                jobs = executor.submit_array(tasks) if len(tasks) > 1 else [executor.submit(tasks[0])]
            except (FailedJobError, FailedSubmissionError) as error:
                raise refused(str(error)) from None
        return [job.job_id for job in jobs]

    @functools.cached_property
    def largest_array(self) -> int:
        """How many jobs an array may have."""
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _answer(["scontrol", "show", "config"]) or "")
        return max(1, min(LARGEST_ARRAY, int(found[1]) - 1)) if found and int(found[1]) else LARGEST_ARRAY

    def states(self, ids: Collection[str]) -> dict[str, JobState] | None:
        """Ask for all jobs of this user; see :meth:`Cluster.states`."""
        command = [
            "squeue",
            "--noheader",
            "--array",
            "--states=all",
            f"--user={os.getuid()}",
            f"--format={STATES_FORMAT}",
        ]
        answer = _answer(command)
        return None if answer is None else read_states(answer)

    def cancel(self, ids: Collection[str]) -> None:
        """Cancel jobs; those that are over already are left as they are."""
        for start in range(0, len(ids), LARGEST_ARRAY):
            _answer(["scancel", *list(ids)[start : start + LARGEST_ARRAY]])


def check_commands() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        InvalidValueError: A command of SLURM is missing.
    """
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        words = f"the command {missing[0]} was" if len(missing) == 1 else f"the commands {', '.join(missing)} were"
        problem = f"There is no SLURM here: {words} not found."
        hint = "Run this on a login node of the cluster, or leave --executor out."
        raise InvalidValueError(problem, hint, where="--executor slurm")


def sbatch_parameters(request: JobRequest, parallel: int, job_name: str) -> dict[str, Any]:
    """Say what submitit is given.

    Args:
        request: What each job asks for.
        parallel: Jobs that run at the same time, at most.
        job_name: The name of the jobs.

    Returns:
        Parameters of its executor.
    """
    threads = " ".join(f"{name}=${{SLURM_CPUS_PER_TASK:-{request.cpus}}}" for name in THREAD_VARIABLES)
    # Python started with -m would import what lies in the current folder in place of its own modules.
    setup = [f"export PYTHONSAFEPATH=1 {threads}", *request.setup]
    wanted = {
        "partition": request.partition,
        "mem": request.mem,
        "gpus_per_node": request.gpus or None,
        "account": request.account,
        "qos": request.qos,
        "constraint": request.constraint,
    }
    return {
        "job_name": job_name,
        "time": request.minutes,
        "signal_delay_s": request.signal_seconds,
        "cpus_per_task": request.cpus,
        # Since SLURM 22.05 srun no longer takes the number of cores of the job for its own.
        "srun_args": [f"--cpus-per-task={request.cpus}"],
        "array_parallelism": parallel,
        "setup": setup,
        "wckey": None,  # submitit's own is refused where keys are enforced
        "additional_parameters": {"requeue": True, **request.more},
        **{name: value for name, value in wanted.items() if value is not None},
    }


def read_states(answer: str) -> dict[str, JobState]:
    """Read what squeue tells in :data:`STATES_FORMAT`.

    Args:
        answer: Its output.

    Returns:
        Id -> state.
    """
    states = {}
    for line in answer.splitlines():
        cluster_id, _, rest = line.strip().partition("|")
        word, _, rest = rest.partition("|")
        index, _, rest = rest.partition("|")
        job_name, _, reason = rest.rpartition("|")
        if cluster_id and word:
            number = int(index) if index.isdigit() else None
            states[cluster_id] = JobState(word, "" if reason == "None" else reason, job_name, number)
    return states


def refused(text: str) -> InvalidValueError:
    """Make the error of jobs that sbatch refused.

    Args:
        text: What it said.

    Returns:
        The error, to be raised.
    """
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ").strip() for line in text.splitlines()]
    told = " ".join(line.rstrip(".") + "." for line in lines if line) or "It does not say why."
    hint = "Partitions and their limits: sinfo. Options: --slurm-partition, --slurm-time, --slurm-account, ..."
    if re.search(r"submit.*limit|limit.*submit|MaxJob", told, re.IGNORECASE):
        hint = "Let each job train several runs: --slurm-groups 10."
    return InvalidValueError(f"SLURM refused the jobs: {told}", hint, where="sbatch")


def _answer(command: list[str]) -> str | None:
    """The output of a command of SLURM; None where it fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
