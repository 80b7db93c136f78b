"""From a word to an executor: ``inline``, ``processes:N``, ``ray``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnlab.errors import InvalidValueError, unknown
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import Executor, WorkerSettings
from attnlab.execution.processes import Processes, workers
from attnlab.training.environment import device
from attnlab.training.vmap_width import VmapWidth

EXECUTORS = ("inline", "processes", "ray")


def make_executor(
    word: str,
    device_name: str = "auto",
    files: Sequence[Path] = (),
    *,
    weights: bool = True,
    address: str | None = None,
    runs: int | None = None,
    vmap: VmapWidth = "auto",
) -> Executor:
    """The executor that a word names.

    Args:
        word: ``inline``; ``processes``, or ``processes:N``; ``ray``, or ``ray:N`` for at most N workers.
        device_name: Where to train.
        files: The user's files, which every worker loads.
        weights: Whether the weights of finished runs are kept.
        address: Of an existing Ray cluster; an address asks for ``ray``.
        runs: How many runs there are: no more workers than that are started.
        vmap: How many runs are stacked into one program.

    Raises:
        UnknownNameError: no such executor.
        InvalidValueError: the number of workers is no number of at least 1; Ray is not installed, or not to be reached.
        DeviceError: this machine has no such device.
    """
    kind, _, number = word.partition(":")
    if kind not in EXECUTORS:
        raise unknown("executor", kind, EXECUTORS, where="--executor")
    if number and not (number.isdigit() and int(number) >= 1):
        raise InvalidValueError(f"'{number}' is no number of workers.", f"Write {kind}:2.", where=f"--executor {word}")
    if address and kind == "inline":
        raise InvalidValueError(
            "A cluster is not inline.", "Leave --executor out, or write ray.", where="--ray-address"
        )
    place = device(device_name).type
    whole = tuple(path.resolve() for path in files)
    how: dict[str, Any] = {"device": place, "files": whole, "weights": weights, "lanes": vmap}
    if kind == "ray" or address:
        from attnlab.execution._ray import RayCluster

        most = [count for count in (int(number or 0), runs) if count]
        return RayCluster(WorkerSettings(**how), min(most, default=None), address)
    if kind == "inline":
        return Inline(WorkerSettings(threads=None, **how))
    count = int(number) if number else workers(place)
    return Processes(min(count, runs or count), WorkerSettings(**how))
