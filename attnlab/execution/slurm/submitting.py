"""From groups of runs to jobs of the cluster: a folder for each, then one array."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnlab.execution.jobs import Job, WorkerSettings, group_name
from attnlab.execution.slurm.cluster import Cluster
from attnlab.execution.slurm.flight import Flight
from attnlab.execution.slurm.folder import JOBS, JobFolder, Submission
from attnlab.execution.slurm.worker import Work
from attnlab.storage import weights

NAME_LETTERS = 40
"""Letters of the store's name in that of its jobs."""


def write_job(store: Path, cluster: Cluster, several: Sequence[Job]) -> Flight:
    """Write the folder of a job.

    Args:
        store: The folder of results.
        cluster: Where the job will run.
        several: The groups that it trains.

    Returns:
        The job, which is not submitted yet.

    Raises:
        StoreError: The folder cannot be written.
    """
    groups = tuple(job.specs for job in several)
    name, parent = group_name([spec for group in groups for spec in group]), store / JOBS
    number = next(number for number in range(1, 10**6) if not (parent / f"{name}-{number}").exists())
    folder = JobFolder(parent / f"{name}-{number}")
    for job in several:
        for spec in job.specs:
            if spec.id in job.checkpoints:
                weights.write(folder.checkpoint(spec.id), *job.checkpoints[spec.id])
    submission = Submission(cluster=cluster.name, job_name="", groups=groups)
    folder.write_submission(submission)
    return Flight(folder, submission)


def submit_jobs(
    flights: Sequence[Flight], cluster: Cluster, store: Path, settings: WorkerSettings, cpus: int
) -> list[str]:
    """Submit jobs as one array. What is submitted is written first, so that a driver that dies here can come back.

    Args:
        flights: The jobs.
        cluster: Where they run.
        store: The folder of results.
        settings: How jobs are run.
        cpus: Cores of a job.

    Returns:
        Their ids.

    Raises:
        InvalidValueError: The cluster refused them; the folders of those that never ran are removed.
        StoreError: A folder cannot be written.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", store.name)[:NAME_LETTERS]
    name = f"{plain}-{secrets.token_hex(4)}"
    for index, flight in enumerate(flights):
        update: dict[str, Any] = {"cluster": cluster.name, "job_name": name, "cluster_id": "", "submitted": time.time()}
        update["index"] = index if len(flights) > 1 else None
        flight.submitted_again(flight.submission.model_copy(update=update))
        flight.folder.write_submission(flight.submission)
    works = [Work(str(flight.folder.path), flight.submission.groups, settings, cpus) for flight in flights]
    try:
        ids = cluster.submit(works, name)
    except BaseException:
        for flight in flights:
            if not flight.started:
                flight.folder.remove()
        raise
    for flight, cluster_id in zip(flights, ids, strict=True):
        flight.submission = flight.submission.model_copy(update={"cluster_id": cluster_id})
        flight.folder.write_submission(flight.submission)
    return ids
