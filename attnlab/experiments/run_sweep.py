"""A sweep: an experiment -> records, whatever happens in between.

PlannedRun before anything starts; what the journal holds already is not run again; workers write nothing; the first
Ctrl-C stops at the next step with checkpoints kept, the second at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from attnlab.config.experiment import Experiment
from attnlab.errors import InterruptedTraining, StoreError
from attnlab.execution.jobs import Executor, Job
from attnlab.execution.recorder import ResultRecorder
from attnlab.experiments._capacity_search import CapacitySearch, search_capacity
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.storage.files import write_whole
from attnlab.storage.status import write_plan
from attnlab.training.events import Progress, no_callback
from attnlab.training.interruption import interruptible
from attnlab.training.loop import group_name
from attnlab.training.precision import check_precision
from attnlab.training.vmap_width import max_width


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep has come to."""

    specs: Sequence[RunSpec]
    """Every run of the plan."""
    records: Sequence[Record]
    """Their records, in the order of the plan."""
    num_run: int
    """How many were run this time; the others were there already."""
    search: CapacitySearch | None = None
    """How an adaptive sweep went."""

    @property
    def failed(self) -> list[Record]:
        """Runs that raised or whose worker was lost."""
        return [record for record in self.records if record.status == "failed"]


def run_sweep(
    experiment: Experiment,
    specs: Sequence[RunSpec],
    store: Path,
    executor: Executor,
    *,
    progress: Progress = no_callback,
    wait: bool = False,
    again: bool = True,
    adaptive: float | None = None,
) -> SweepOutcome:
    """Run what is missing of a plan.

    Args:
        experiment: What the runs are for.
        specs: The plan.
        store: The folder of results.
        executor: What works through the jobs; it is left open.
        progress: Takes every event.
        wait: Whether to wait while another sweep drives this store; otherwise it is refused.
        again: Whether runs that failed before are tried again.
        adaptive: How narrow C50 shall be, in levels: only the runs that this takes are run. None runs all.

    Raises:
        DeviceError: the executor's device has not the precision of a run.
        StoreError: another sweep drives this store, it holds another experiment, or it cannot be written.
        InterruptedTraining: the person pressed Ctrl-C; records and checkpoints are kept.
    """
    check_precision(specs, executor.settings.device)
    kept = Store(store)
    kept.open()
    with sweep_lock(store, wait):
        _claim(store, experiment)
        write_plan(store, specs)
        done = {record.id: record for record in kept.records() if record.status != "failed" or not again}
        for name, runs in kept.checkpoints().items():
            if done.keys() >= set(runs):  # whoever drove before died between keeping records and dropping this
                kept.drop(name)
        clerk = ResultRecorder(kept, progress)

        def run(wanted: Sequence[RunSpec]) -> list[Record]:
            missing = [spec for spec in wanted if spec.id not in done]
            try:
                executor.run(jobs(missing, kept, *vmap_limits(executor)), clerk, interruption)
            finally:
                clerk.flush()
            done.update(clerk.records)
            if interruption.requested:
                there = sum(spec.id in done for spec in specs)
                result = f"Interrupted: {there} of {len(specs)} runs are done."
                raise InterruptedTraining(result, "Nothing is lost; the same command goes on from here.")
            return [done[spec.id] for spec in wanted if spec.id in done]

        with interruptible() as interruption:
            if adaptive is None:
                return SweepOutcome(specs, run(specs), len(clerk.records))
            search = search_capacity(specs, run, adaptive)
    return SweepOutcome(specs, search.records, len(clerk.records), search)


def jobs(specs: Iterable[RunSpec], store: Store, lanes: int = 1, sharers: int = 1) -> Iterator[Job]:
    """A job for each run, or for so many runs of one shape, with the checkpoint it can go on from.

    Runs that were begun go on first, with those they were begun with. Of the others no worker is given more at once
    than leaves some for the rest.
    """
    waiting = {spec.id: spec for spec in specs}
    for name, runs in store.checkpoints().items() if lanes > 1 else ():
        together = tuple(waiting[run] for run in runs if run in waiting)
        if len(together) == len(runs) <= lanes:
            for run in runs:
                del waiting[run]
            yield Job(name, together, store.load(name))
    for group in groups(waiting.values(), shared_width(lanes, sharers, len(waiting))):
        name = group_name(group)
        yield Job(name, group, store.load(name))


def vmap_limits(executor: Executor) -> tuple[int, int]:
    """How many lanes a bundle may have, and among how many workers the runs are to be shared out."""
    setting = executor.settings
    return max_width(setting.vmap, setting.device), executor.num_workers if setting.vmap == "auto" else 1


def vmap_per_worker(executor: Executor, runs: int) -> int:
    """VmapWidth of a bundle if so many runs are to be shared out."""
    return shared_width(*vmap_limits(executor), runs)


def shared_width(lanes: int, sharers: int, runs: int) -> int:
    """VmapWidth of a bundle that leaves some runs for the other workers.

    >>> shared(64, 4, 10), shared(2, 1, 10), shared(64, 4, 0)
    (3, 2, 1)
    """
    return min(lanes, max(1, math.ceil(runs / sharers)))


def groups(specs: Iterable[RunSpec], runs: int) -> Iterator[tuple[RunSpec, ...]]:
    """Runs of one shape in bundles of so many at most, in the order in which shapes are first met."""
    by_shape: dict[str, list[RunSpec]] = {}
    for index, spec in enumerate(specs):
        by_shape.setdefault(spec.shape if runs > 1 else str(index), []).append(spec)
    for same in by_shape.values():
        for start in range(0, len(same), runs):
            yield tuple(same[start : start + runs])


@contextmanager
def sweep_lock(store: Path, wait: bool) -> Iterator[None]:
    """The right to drive the sweeps of a store, which falls free when its holder dies.

    Raises:
        StoreError: another process has it.
    """
    lock = FileLock(store / "sweep.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        hint = "Wait for it with --wait, or choose another folder with --store."
        raise StoreError("Another sweep is running here.", hint, where=str(store)) from None
    try:
        yield
    finally:
        lock.release()


def _claim(store: Path, experiment: Experiment) -> None:
    """Write the experiment into its store, unless another one lives there."""
    path = store / "experiment.json"
    if path.exists():
        try:
            name = json.loads(path.read_bytes())["name"]
        except (ValueError, KeyError, TypeError):
            hint = "Move it away; the next sweep writes it anew."
            raise StoreError("This is no experiment of attnlab.", hint, where=str(path)) from None
        if name != experiment.name:
            hint = f"Choose another folder with --store; left out, it is results/{experiment.name}."
            raise StoreError(f"This store belongs to the experiment '{name}'.", hint, where=str(store))
    try:
        write_whole(path, experiment.model_dump_json(indent=1).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"It cannot be written: {error.strerror}.", where=str(path)) from None
