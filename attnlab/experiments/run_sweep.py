"""Run an experiment: what is missing of its plan is run, and every record is stored.

Everything is planned before anything starts. Runs that are in the journal are not run again. Workers write nothing. The
first Ctrl-C stops at the next step and saves checkpoints; the second stops at once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from attnlab.analysis.questions import questions_of
from attnlab.config.durations import parse_duration
from attnlab.config.experiment import Experiment
from attnlab.errors import StoreError
from attnlab.execution.jobs import Executor
from attnlab.execution.recorder import ResultRecorder
from attnlab.execution.slurm.driver import ClusterDriver
from attnlab.execution.slurm.earlier import working_jobs
from attnlab.experiments.decision_search import DecisionSearch, search_decisions
from attnlab.experiments.expand import with_levels, with_resolved_parts
from attnlab.experiments.finished_sweep import digest_to_keep
from attnlab.experiments.grouping import jobs, vmap_limits
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.storage.files import write_whole
from attnlab.storage.locks import sweep_lock
from attnlab.storage.provenance import Provenance, write_provenance
from attnlab.storage.status import write_plan
from attnlab.training.events import Notice, Progress, no_callback
from attnlab.training.interruption import Interruption, interruptible
from attnlab.training.precision import check_precision, precision_notice


@dataclass(frozen=True)
class SweepOutcome:
    """The result of a sweep."""

    specs: Sequence[RunSpec]
    """Every run of the plan."""
    records: Sequence[Record]
    """Their records, in the order of the plan."""
    num_run: int
    """How many were run this time; the others were in the store."""
    search: DecisionSearch | None = None
    """The course of a sweep that ends once its comparisons are decided."""

    @property
    def failed(self) -> list[Record]:
        """Runs that raised an exception, or whose worker was lost."""
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
    command: str = "",
    opened: Store | None = None,
    planned_from: str = "",
) -> SweepOutcome:
    """Run what is missing of a plan.

    Args:
        experiment: The experiment, which is written into the store.
        specs: Its plan.
        store: The folder of results.
        executor: Works through the jobs; it is not closed.
        progress: Receives every event.
        wait: Whether to wait while another sweep uses this store; otherwise an error is raised.
        again: Whether runs that failed before are tried again.
        command: The command line, or the call of the Python interface, which the store keeps beside the file of the
            experiment; empty keeps what it has.
        opened: That folder, where it was read before, so that it is read once; None opens it.
        planned_from: What :func:`attnlab.experiments.finished_sweep.planned_from` gives of the experiment, so that the
            sweep is recognized when it is run again; empty leaves that out.

    Returns:
        The records of the plan.

    Raises:
        DeviceError: The executor's device does not support the precision of a run.
        StoreError: Another sweep uses this store, it has another experiment, or it cannot be written.
        LostStoreError: The store was removed meanwhile.
        InterruptedTraining: The user pressed Ctrl-C; records and checkpoints are stored.
    """
    check_precision(specs, executor.settings.device)
    if slower := precision_notice(specs, executor.settings.device):
        progress(Notice(slower))
    results = opened or Store(store)
    results.open()
    with sweep_lock(store, wait):
        if not isinstance(executor, ClusterDriver) and (working := working_jobs(store)):
            progress(
                Notice(f"Jobs of a cluster work on this store too: {working}. --executor slurm comes back to them.")
            )
        resolved = with_resolved_parts(experiment)
        _write_experiment(store, with_levels(resolved))
        if command or experiment.file[0]:  # what is known stays where a caller names neither
            write_provenance(store, Provenance(command, *experiment.file))
        write_plan(store, specs, digest_to_keep(planned_from, specs) if planned_from else "")
        results.adopt(specs)
        done = {record.id: record for record in results.scan() if record.status != "failed" or not again}
        results.drop_finished(done)
        recorder = ResultRecorder(results, progress)

        def run(requested: Sequence[RunSpec]) -> list[Record]:
            missing = [spec for spec in requested if spec.id not in done]
            try:
                executor.run(jobs(missing, results, *vmap_limits(executor)), recorder, interruption)
            finally:
                recorder.flush()
            results.check_present()
            done.update(recorder.records)
            if interruption.requested and not budget.spent:
                finished = sum(spec.id in done for spec in specs)
                problem = f"Interrupted: {finished} of {len(specs)} runs are done."
                hint = "Nothing is lost; the same command goes on from here."
                if executor.left_running:
                    hint = f"Nothing is lost. {executor.left_running}"
                raise interruption.error(problem, hint)
            return [done[spec.id] for spec in requested if spec.id in done]

        with interruptible() as interruption, _Budget(experiment.budget, interruption) as budget:
            if experiment.until is None:
                return SweepOutcome(specs, run(specs), len(recorder.records))
            search = search_decisions(
                specs,
                run,
                questions_of(experiment),
                done=list(done.values()),
                at_once=executor.num_workers,
                spent=lambda: budget.spent,
            )
            # What the search did not need is not missing: the plan is what it took, and what was here before.
            write_plan(store, [spec for spec in specs if spec.id in done])
    return SweepOutcome(specs, search.records, len(recorder.records), search)


class _Budget:
    """Asks the runs to stop once a time is over; they leave checkpoints, as after Ctrl-C."""

    def __init__(self, text: str | None, interruption: Interruption) -> None:
        self.seconds = parse_duration(text) if text else None
        self.interruption, self.started, self.spent = interruption, time.monotonic(), False
        self.timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self.seconds is not None:
            self.timer = threading.Timer(self.seconds, self._stop)
            self.timer.daemon = True
            self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.timer:
            self.timer.cancel()

    def _stop(self) -> None:
        if not self.interruption.requested:  # Ctrl-C came first
            self.spent = self.interruption.spent = self.interruption.requested = True


def _write_experiment(store: Path, experiment: Experiment) -> None:
    """Write the experiment into its store, unless the store has another one."""
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
    write_whole(path, experiment.model_dump_json(indent=1).encode() + b"\n")
