"""From a name to an executor: ``inline``, ``processes:N``, ``ray:N``, ``slurm:N,partition=gpu``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnlab.config.inline_parts import parse_part, split_outside_brackets
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.execution.base import EXECUTORS, ExecutorKind, ExecutorRequest
from attnlab.execution.jobs import Executor, WorkerSettings
from attnlab.execution.worker_parts import WorkerParts
from attnlab.registry import Entry
from attnlab.sizes import whole_number
from attnlab.training.vmap_width import VmapWidth

WHERE = "--executor"


def make_executor(
    name: str,
    device_name: str = "auto",
    parts: WorkerParts | None = None,
    *,
    weights: bool = True,
    address: str | None = None,
    runs: int | None = None,
    vmap: VmapWidth = "auto",
    store: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Executor:
    """Make the executor of a name.

    Args:
        name: A registered executor, such as ``inline``, ``processes``, ``ray`` or ``slurm``; ``NAME:N`` for at most N
            workers, and options of its own after a comma or the colon: ``slurm:8,partition=gpu``.
        device_name: Where to train; ``auto`` takes the fastest device of this machine.
        parts: The user's parts, which every worker makes known; None if there are none.
        weights: Whether the weights of finished runs are kept.
        address: ``HOST:PORT`` of an existing Ray cluster; an address selects ``ray``. None uses no existing cluster.
        runs: Number of runs: no more workers than that are started. None sets no such limit.
        vmap: Number of runs that are trained as one vmapped program; ``auto`` takes as many as fit on a GPU, and one
            on a CPU.
        store: The folder of results; an executor that goes on without this process exchanges files there.
        options: Options of the executor beside those of the name.

    Returns:
        The executor; its workers start with the first job.

    Raises:
        UnknownNameError: There is no such executor, or it has no such option.
        InvalidValueError: The number of workers is not an integer of at least 1, an address was given for another
            executor than Ray, what the executor needs is not installed or cannot be reached, or this session has given
            constants other values than workers would load.
        DeviceError: This machine has no such device.
    """
    base, count, given = _read(name)
    entry = _entry(base)
    given |= options or {}
    if address:
        entry = _with_address(entry)
        given["address"] = address
    try:
        made: ExecutorKind = entry.cls(**entry.complete(given))
    except AttnlabError as error:
        raise error.at(f"{WHERE} {base}") from None
    settings = WorkerSettings(device=made.device(device_name), parts=parts or WorkerParts(), weights=weights, vmap=vmap)
    if made.remote:
        settings.parts.check_values()
    return made.make(ExecutorRequest(settings, count, runs, store))


def check_executor(name: str) -> str:
    """Look up the executor of a name.

    Args:
        name: What :func:`make_executor` takes.

    Returns:
        Its name in the registry.

    Raises:
        UnknownNameError: There is no such executor.
        InvalidValueError: The number of workers is not an integer of at least 1.
    """
    return _entry(_read(name)[0]).name


def _entry(base: str) -> Entry[ExecutorKind]:
    """Find a kind of executor by its name."""
    try:
        return EXECUTORS.entry(base)
    except AttnlabError as error:
        raise error.at(WHERE) from None


def _read(name: str) -> tuple[str, int | None, dict[str, Any]]:
    """Read the name, the number of workers and the options."""
    base, _, rest = name.partition(":")
    first, *others = split_outside_brackets(rest, ",") if rest else [""]
    where = f"{WHERE} {name}"
    if "=" in first or not first:
        part = parse_part(name if first else base) if base else None
        return base, None, dict(part.options) if part else {}
    if not whole_number(first):
        problem = f"'{first}' is not a number of workers of at least 1."
        raise InvalidValueError(problem, f"Write {base}:2.", where=where)
    options = parse_part(f"{base}:{','.join(others)}").options if others else {}
    return base, int(first), dict(options)


def _with_address(entry: Entry[ExecutorKind]) -> Entry[ExecutorKind]:
    """The kind that an address selects: Ray, in place of local processes; others take none."""
    if entry.name not in ("processes", "ray"):
        problem = f"The executor '{entry.name}' does not run on a Ray cluster."
        raise InvalidValueError(problem, "Leave --executor out, or write ray.", where="--ray-address")
    return EXECUTORS.entry("ray")
