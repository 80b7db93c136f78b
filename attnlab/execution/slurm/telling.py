"""What the driver says of its jobs."""

from __future__ import annotations

from collections.abc import Sequence

from attnlab.execution.slurm.cluster import JobState, short_ids

HOPELESS = (
    "Assoc",
    "BadConstraints",
    "Invalid",
    "JobHeld",
    "NodeDown",
    "Partition",
    "QOSMax",
    "QOSMin",
    "ReqNodeNotAvail",
    "job requeued in held state",
    "launch failed",
)
"""Beginnings of reasons for which a job waits until somebody does something."""


def count(number: int, noun: str) -> str:
    """Write a number of things.

    >>> count(1, "job"), count(3, "run")
    ('1 job', '3 runs')

    Args:
        number: How many.
        noun: What, of one.

    Returns:
        Both.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def left_running(ids: Sequence[str], cluster: str) -> str:
    """Say what goes on, and how to come back to it or to end it.

    >>> left_running(["12_0", "12_1"], "slurm")
    '2 jobs go on: 12_[0-1]. The same command comes back to them; to end them: scancel 12'

    Args:
        ids: The jobs.
        cluster: The name of their cluster.

    Returns:
        Two sentences.
    """
    arrays = " ".join(dict.fromkeys(one.partition("_")[0] for one in ids))
    ends = f"scancel {arrays}" if cluster == "slurm" else f"kill {arrays}"
    jobs = "1 job goes on" if len(ids) == 1 else f"{len(ids)} jobs go on"
    it = "it" if len(ids) == 1 else "them"
    return f"{jobs}: {short_ids(ids)}. The same command comes back to {it}; to end {it}: {ends}"


def status_text(states: Sequence[JobState]) -> str:
    """Say how many jobs run and wait.

    >>> status_text([JobState("RUNNING"), JobState("PENDING", "Priority"), JobState("PENDING", "Priority")])
    '1 job running, 2 waiting (Priority)'

    Args:
        states: Their states.

    Returns:
        A clause.
    """
    waiting = [state for state in states if state.waits]
    reasons = ", ".join(sorted({state.reason for state in waiting if state.reason}))
    running = sum(not state.waits and not state.ended for state in states)
    return f"{count(running, 'job')} running, {len(waiting)} waiting{f' ({reasons})' if reasons else ''}"


def waiting_text(cluster_id: str, state: JobState) -> str:
    """Say that a job waits for what does not come by itself.

    Args:
        cluster_id: The job.
        state: Its state.

    Returns:
        A sentence or two; empty where it merely waits its turn.
    """
    if not (state.waits and state.reason.lstrip("(").startswith(HOPELESS)):
        return ""
    return f"SLURM keeps job {cluster_id} waiting: {state.reason}. See: scontrol show job {cluster_id}"
