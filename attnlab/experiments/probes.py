"""Probes: further runs that show why a run failed, where its record leaves two failure modes.

A run at a plateau may be short of steps, of luck with its initialization, or of capacity. Its probes are the same run
with :data:`STEPS` times the steps, and with :data:`SEEDS` other seeds. They have a store of their own, the folder
:data:`attnlab.storage.PROBES` in the store of the run, where they go on after an interruption; what came of them is
written into the record of the run. :mod:`attnlab.analysis.failure_modes` reads it there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from attnlab.analysis.failure_modes import failure_mode
from attnlab.analysis.probe_signs import last_loss
from attnlab.errors import AttnlabError
from attnlab.execution.jobs import Executor
from attnlab.execution.recorder import ResultRecorder
from attnlab.experiments.grouping import jobs, vmap_limits
from attnlab.records import ProbeResult, Record
from attnlab.specs import RunSpec
from attnlab.storage import PROBES, Store
from attnlab.storage.locks import sweep_lock
from attnlab.training.events import Progress, no_callback
from attnlab.training.interruption import interruptible
from attnlab.training.run_parts import check_parts, error_of_run

STEPS = 4
"""The first probe takes this many times the steps."""
SEEDS = 2
"""How many other seeds are tried."""
FIRST_SEED = 1_000_000
"""Added to the seed of the run: seeds of experiments are small."""


@dataclass(frozen=True)
class ProbePlan:
    """What is to be probed."""

    undecided: tuple[Record, ...]
    """Runs with two failure modes, which can be trained again."""
    refused: dict[str, str]
    """Id of each run that cannot be -> why."""

    @property
    def specs(self) -> list[RunSpec]:
        """The probes of all runs, each once."""
        every = (spec for record in self.undecided for spec in probe_specs(record.spec))
        return list({spec.id: spec for spec in every}.values())


def plan_probes(records: Iterable[Record], command: str = "attnlab report") -> ProbePlan:
    """Find the runs whose records leave two failure modes.

    Args:
        records: Finished runs, with their whole histories.
        command: The command line that asks for the probes, for the reason where a file with a part is not named.

    Returns:
        Those that can be probed, and those that cannot: a part of theirs is not known or has changed, they continue
        another run, or they were never validated.
    """
    undecided, refused = [], {}
    for record in records:
        mode = failure_mode(record)
        if not mode.alternative or mode.name == "rank collapse" or len(record.probes) > SEEDS:
            continue  # a collapse of the rank is decided by logging it
        if record.spec.continue_from:
            refused[record.id] = "It continues another run."
        elif not math.isfinite(last_loss(record)):
            refused[record.id] = "Its validation loss was not measured."
        else:
            try:
                check_parts(record.spec)
                undecided.append(record)
            except AttnlabError as error:
                told = error_of_run(record, error, command)
                refused[record.id] = "\n".join(filter(None, (told.problem, told.hint)))
    return ProbePlan(tuple(undecided), refused)


def probe_specs(spec: RunSpec) -> tuple[RunSpec, ...]:
    """Make the probes of a run; they log no diagnostics.

    Args:
        spec: The run.

    Returns:
        The run with more steps, then with other seeds.
    """
    same = {"log_diagnostics": ()}
    longer = spec.train.model_copy(update={**same, "max_steps": STEPS * spec.train.max_steps})
    again = spec.train.model_copy(update=same)
    seeds = [spec.seed + FIRST_SEED + number for number in range(SEEDS)]
    return (
        RunSpec(task=spec.task, model=spec.model, train=longer, seed=spec.seed),
        *(RunSpec(task=spec.task, model=spec.model, train=again, seed=seed) for seed in seeds),
    )


def run_probes(
    plan: ProbePlan, store: Path, executor: Executor, *, progress: Progress = no_callback
) -> dict[str, Record]:
    """Run the probes that are missing, and write what came of them into the records of their runs.

    Args:
        plan: What is to be probed.
        store: The store of the runs.
        executor: Works through the probes; it is not closed.
        progress: Receives every event.

    Returns:
        The records with their probes, by the id of the run.

    Raises:
        StoreError: A store cannot be written, or another process uses it.
        InterruptedTraining: The user pressed Ctrl-C; finished probes are stored.
    """
    specs = plan.specs
    probes = Store(store / PROBES)
    probes.open()
    with sweep_lock(store / PROBES, wait=False), interruptible() as interruption:
        done = {record.id: record for record in probes.scan() if record.status != "failed"}
        recorder = ResultRecorder(probes, progress)
        try:
            missing = [spec for spec in specs if spec.id not in done]
            executor.run(jobs(missing, probes, *vmap_limits(executor)), recorder, interruption)
        finally:
            recorder.flush()
        probes.check_present()
        done.update(recorder.records)
        if interruption.requested:
            problem = f"Interrupted: {sum(spec.id in done for spec in specs)} of {len(specs)} probes are done."
            raise interruption.error(problem, "Nothing is lost; the same command goes on from here.")
        probed = {record.id: _with_probes(record, done) for record in plan.undecided}
        Store(store).append(list(probed.values()))
    return probed


def _with_probes(record: Record, done: dict[str, Record]) -> Record:
    """A record with what came of its probes; one that failed is tried again the next time."""
    finished = [spec for spec in probe_specs(record.spec) if spec.id in done and done[spec.id].status != "failed"]
    results = [_result(spec, done[spec.id], record.spec) for spec in finished]
    return record.model_copy(update={"probes": tuple(results)})


def _result(spec: RunSpec, record: Record, of: RunSpec) -> ProbeResult:
    return ProbeResult(
        change="more steps" if spec.seed == of.seed else "another seed",
        seed=spec.seed,
        max_steps=spec.train.max_steps,
        steps=record.steps,
        solved=record.solved,
        accuracy=record.accuracy,
        validation_loss=last_loss(record) if record.status == "done" else math.nan,
    )
