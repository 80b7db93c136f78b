"""What is done with a job that is over without having finished."""

from __future__ import annotations

from dataclasses import dataclass

from attnlab.errors import clipped
from attnlab.execution.processes import TRIES
from attnlab.execution.slurm.cluster import Cluster, last_line, log_of, ran_out_of_memory
from attnlab.execution.slurm.flight import Flight

WHOLE_TIME = ("TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED")
"""Ends that say nothing against the job: it is submitted again as often as it makes progress."""


@dataclass(frozen=True)
class Loss:
    """Why a job was lost, and whether it is submitted again."""

    reason: str
    """A clause without a full stop."""
    again: bool
    progress: bool = False
    """Whether a start that made progress does not count as a try."""


def judge_loss(flight: Flight, cluster: Cluster) -> Loss:
    """Decide what is done with a job that is over without having finished.

    Args:
        flight: The job, and what the cluster last said of it.
        cluster: The cluster.

    Returns:
        The decision.
    """
    word, job = (flight.end.word if flight.end else ""), f"job {flight.cluster_id or flight.submission.job_name}"
    if flight.outcome == "time":  # it could not ask to be queued again: some nodes have no scontrol
        return Loss(f"{job} reached its time limit", again=True, progress=True)
    if word == "CANCELLED":
        return Loss(f"{job} was cancelled; the same command goes on from its checkpoint", again=False)
    log_path = log_of(cluster, flight.cluster_id)
    if word == "OUT_OF_MEMORY" or (word in ("", "FAILED") and ran_out_of_memory(log_path)):
        return Loss(f"{job} needs more memory than it asked for: --slurm-mem", again=False)
    if word == "DEADLINE":
        return Loss(f"{job} reached its deadline", again=False)
    told = {
        "": "is gone, and the cluster does not say why",
        "TIMEOUT": "reached its time limit and was not queued again",
        "PREEMPTED": "was preempted",
        "NODE_FAIL": "lost its node",
    }.get(word, f"ended as {word}")
    log = last_line(log_path) if word not in WHOLE_TIME else ""
    reason = f"{job} {told}{f' ({clipped(log)})' if log else ''}"
    free = word in WHOLE_TIME and flight.progressed
    if free or flight.tries < TRIES:
        return Loss(reason, again=True, progress=word in WHOLE_TIME)
    if word == "TIMEOUT":
        return Loss(stuck_reason(flight), again=False)
    return Loss(f"{reason}, twice", again=False)


def stuck_reason(flight: Flight) -> str:
    """Say that the time of a job is too short.

    Args:
        flight: The job.

    Returns:
        The reason, for the records of its runs.
    """
    return f"job {flight.cluster_id} saved no progress in its whole time limit; give more with --slurm-time"
