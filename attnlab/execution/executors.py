"""From a name to an executor: ``inline``, ``processes:N``, ``ray:N``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from attnlab.errors import InvalidValueError, unknown
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import Executor, WorkerSettings
from attnlab.execution.processes import WORKER_MEMORY, Processes, default_workers
from attnlab.execution.worker_parts import WorkerParts
from attnlab.sizes import check_fits, whole_number
from attnlab.training.environment import device
from attnlab.training.vmap_width import VmapWidth


def make_executor(
    name: str,
    device_name: str = "auto",
    parts: WorkerParts | None = None,
    *,
    weights: bool = True,
    address: str | None = None,
    runs: int | None = None,
    vmap: VmapWidth = "auto",
) -> Executor:
    """Make the executor of a name.

    Args:
        name: ``inline``; ``processes``, or ``processes:N`` for N workers; ``ray``, or ``ray:N`` for at most N workers.
        device_name: Where to train; ``auto`` takes the fastest device of this machine.
        parts: The user's parts, which every worker makes known; None if there are none.
        weights: Whether the weights of finished runs are kept.
        address: ``HOST:PORT`` of an existing Ray cluster; an address selects ``ray``. None uses no existing cluster.
        runs: Number of runs: no more workers than that are started. None sets no such limit.
        vmap: Number of runs that are trained as one vmapped program; ``auto`` takes as many as fit on a GPU, and one
            on a CPU.

    Returns:
        The executor; its workers start with the first job.

    Raises:
        UnknownNameError: There is no such executor.
        InvalidValueError: The number of workers is not an integer of at least 1, an address was given for ``inline``,
            Ray is not installed or cannot be reached, or this session has given constants other values than workers
            would load.
        DeviceError: This machine has no such device.
    """
    base, _, number = name.partition(":")
    if base not in EXECUTORS:
        raise unknown("executor", base, EXECUTORS, where="--executor")
    if number and not whole_number(number):
        problem = f"'{number}' is not a number of workers of at least 1."
        raise InvalidValueError(problem, f"Write {base}:2.", where=f"--executor {name}")
    if address and base == "inline":
        problem = "The executor 'inline' does not run on a cluster."
        raise InvalidValueError(problem, "Leave --executor out, or write ray.", where="--ray-address")
    settings = WorkerSettings(device=device(device_name).type, parts=parts or WorkerParts(), weights=weights, vmap=vmap)
    if address or base != "inline":
        settings.parts.check_values()
    make = _ray if address else EXECUTORS[base]
    return make(settings, int(number) if number else None, runs, address)


def _inline(settings: WorkerSettings, count: int | None, runs: int | None, address: str | None) -> Executor:
    """Make the executor that trains in this process."""
    return Inline(replace(settings, threads=None))


def _processes(settings: WorkerSettings, count: int | None, runs: int | None, address: str | None) -> Executor:
    """Make the executor of local processes."""
    count = count or default_workers(settings.device)
    workers = min(count, runs or count)
    if workers > (os.cpu_count() or 1):
        where = f"--executor processes:{count}"
        check_fits(workers, lambda number: number * WORKER_MEMORY, what=f"{workers:,} workers", where=where)
    return Processes(workers, settings)


def _ray(settings: WorkerSettings, count: int | None, runs: int | None, address: str | None) -> Executor:
    """Make the executor of a Ray cluster."""
    from attnlab.execution._ray import RayCluster

    return RayCluster(settings, min([limit for limit in (count, runs) if limit], default=None), address)


EXECUTORS: dict[str, Callable[[WorkerSettings, int | None, int | None, str | None], Executor]] = {
    "inline": _inline,
    "processes": _processes,
    "ray": _ray,
}
"""Name -> what makes the executor, from the settings, the number of workers, the number of runs and the address."""
