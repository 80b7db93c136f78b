"""Runs -> groups of one shape, of which each is trained as one vmapped program, and the jobs of an executor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from attnlab.execution.jobs import Executor, Job, group_name
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.training.vmap_width import max_width


def groups(specs: Iterable[RunSpec], width: int) -> Iterator[tuple[RunSpec, ...]]:
    """Group runs of one shape, in the order in which the shapes first occur.

    Args:
        specs: The runs.
        width: Runs of a group, at most.

    Yields:
        The groups.
    """
    by_shape: dict[str, list[RunSpec]] = {}
    for index, spec in enumerate(specs):
        by_shape.setdefault(spec.shape if width > 1 else str(index), []).append(spec)
    for same in by_shape.values():
        for start in range(0, len(same), width):
            yield tuple(same[start : start + width])


def jobs(specs: Iterable[RunSpec], store: Store, width: int = 1, workers: int = 1) -> Iterator[Job]:
    """Make the jobs of an executor, each with the checkpoints that its runs go on from.

    Runs that were trained together come first, and together, where all of them are to run and the width permits: the
    same command then comes to the same numbers, bit for bit. The other runs are grouped so that every worker has some;
    those that have a checkpoint go on from it whatever they were trained beside, and come first; then the costliest,
    so that no worker trains one of these alone at the end.

    Args:
        specs: The runs.
        store: The store with the checkpoints.
        width: Runs of a group, at most.
        workers: Among how many workers the runs are shared out.

    Yields:
        The jobs.

    Raises:
        StoreError: A checkpoint cannot be read.
    """
    waiting, started = {spec.id: spec for spec in specs}, store.checkpoints()
    together = dict.fromkeys(checkpoint.group for checkpoint in started.values() if checkpoint.group)
    for runs in together if width > 1 else ():
        if len(runs) <= width and waiting.keys() >= set(runs):
            yield _job(tuple(waiting.pop(run) for run in runs), store)
    rest = sorted(waiting.values(), key=lambda spec: (spec.id not in started, -_cost(spec)))
    for group in groups(rest, shared_width(width, workers, len(rest))):
        yield _job(group, store)


def _cost(spec: RunSpec) -> float:
    """Work of a run in proportion to the products of its maps; it does not know the length or the attention."""
    return float(spec.train.max_steps) * spec.train.batch_size * spec.model.layers * spec.model.width**2


def _job(group: tuple[RunSpec, ...], store: Store) -> Job:
    """Make the job of a group of runs."""
    loaded = {spec.id: store.load(spec.id) for spec in group}
    return Job(group_name(group), group, {run: checkpoint for run, checkpoint in loaded.items() if checkpoint})


def vmap_limits(executor: Executor) -> tuple[int, int]:
    """Tell how runs may be grouped for an executor.

    Args:
        executor: The executor.

    Returns:
        Runs of a group, at most, and the number of workers among which the runs are shared out.
    """
    settings = executor.settings
    return max_width(settings.vmap, settings.device), executor.num_workers if settings.vmap == "auto" else 1


def vmap_per_worker(executor: Executor, runs: int) -> int:
    """Tell how many runs a group has.

    Args:
        executor: The executor.
        runs: How many runs there are.

    Returns:
        Runs of a group.
    """
    return shared_width(*vmap_limits(executor), runs)


def shared_width(width: int, workers: int, runs: int) -> int:
    """Limit the size of a group so that every worker has some runs.

    >>> shared_width(64, 4, 10), shared_width(2, 1, 10), shared_width(64, 4, 0)
    (3, 2, 1)

    Args:
        width: Runs of a group, at most.
        workers: How many workers there are.
        runs: How many runs there are.

    Returns:
        Runs of a group.
    """
    return min(width, max(1, math.ceil(runs / workers)))
