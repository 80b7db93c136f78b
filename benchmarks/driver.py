"""The driver of a sweep with 100,000 runs that train nothing: whether it is fast enough for a large cluster.

    python -m benchmarks.driver                # 100,000 runs
    python -m benchmarks.driver --runs 10000

Plan, result recorder and journal are the real ones. Only the executor is a stand-in: it returns a record for every run
at once. Each phase is a process of its own, so that the measured memory is that of the phase. Goals: a plan in less
than 10 s; 2,000 records per second, at most 1 s between two writes; a resume in less than 5 s; less than 1 GB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from attnlab.config.inline_experiment import inline_experiment
from attnlab.execution.jobs import Finished, Job, Send, WorkerSettings
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import HistoryPoint, Record, Score
from attnlab.specs import RunSpec
from attnlab.storage.journal import Journal
from attnlab.training.interruption import Interruption

VARIANTS = "softmax,expressive,gpam,dape"
LEVELS = (2, 4, 8, 16)
SEEDS = 5
ENVIRONMENT = {
    "attnlab": "0.1.0",
    "python": "3.11",
    "torch": "2.13",
    "numpy": "2.4",
    "system": "Linux",
    "device": "cpu",
}


class Idle:
    """An executor whose runs take no time."""

    description, num_workers, settings, left_running = "idle", 1, WorkerSettings(), ""

    def run(self, jobs: Iterable[Job], send: Send, interruption: Interruption, /) -> None:
        """Return a record for every run."""
        for job in jobs:
            send(Finished(job.name, tuple(map(record, job.specs))))

    def close(self) -> None:
        """Do nothing: there are no workers."""


def record(spec: RunSpec) -> Record:
    """Make the record of a run that trains nothing."""
    score = Score(correct=1000, total=1024, chance=0.1)
    history = (HistoryPoint(step=2000, loss=0.123456789, accuracy=0.987654321),)
    return Record(
        id=spec.id,
        spec=spec,
        status="done",
        steps=2000,
        parameters=100_000,
        accuracy=score,
        exact_match=score,
        loss=0.1,
        history=history,
        environment={**ENVIRONMENT, "seconds": 12.345, "ended": "2026-01-01T00:00:00Z"},
    )


def phase(name: str, runs: int, store: Path) -> dict[str, float]:
    """Measure one phase: seconds and peak memory."""
    learning_rates = runs // (4 * len(LEVELS) * SEEDS)
    experiment = inline_experiment(
        "recall",
        attention=VARIANTS,
        complexity=LEVELS,
        grid={"lr": [1e-5 * (1 + rate) for rate in range(learning_rates)]},
        seeds=SEEDS,
    )
    start = time.perf_counter()
    specs = expand(experiment)
    plan_seconds = time.perf_counter() - start
    result = {"runs": float(len(specs)), "plan": plan_seconds}
    if name == "run":
        write_times: list[float] = []
        append = Journal.append

        def timed_append(journal: Journal, records: Iterable[Record]) -> None:
            append(journal, records)
            write_times.append(time.perf_counter())

        Journal.append = timed_append  # type: ignore[method-assign, assignment]
        start = time.perf_counter()
        outcome = run_sweep(experiment, specs, store, Idle())
        result |= {"sweep": time.perf_counter() - start, "batches": float(len(write_times))}
        result["longest"] = max(after - before for before, after in itertools.pairwise(write_times))
        assert outcome.num_run == len(specs)
    if name == "resume":
        start = time.perf_counter()
        outcome = run_sweep(experiment, specs, store, Idle())
        result |= {"sweep": time.perf_counter() - start, "ran": float(outcome.num_run)}
    result["cpu"] = time.process_time()
    result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="The driver of a sweep with many runs that train nothing.")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--phase", choices=["plan", "run", "resume"])
    parser.add_argument("--store", type=Path)
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(phase(args.phase, args.runs, args.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("plan", "run", "resume"):
            words = [
                sys.executable,
                "-m",
                "benchmarks.driver",
                "--phase",
                name,
                "--runs",
                str(args.runs),
                "--store",
                folder,
            ]
            output = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
            result = json.loads(output.splitlines()[-1])
            line = f"{name:<7}{result['runs']:>9,.0f} runs  plan {result['plan']:6.2f} s  {result['memory']:6,.0f} MB"
            line += f"  {result['cpu']:6.2f} s of one core in total"
            if name == "run":
                rate = result["runs"] / result["sweep"]
                line += f"  {result['sweep']:6.2f} s, {rate:,.0f} records/s"
                line += f", at most {result['longest']:.2f} s between batches"
            if name == "resume":
                line += f"  {result['sweep']:6.2f} s, {result['ran']:.0f} runs again"
            print(line, flush=True)


if __name__ == "__main__":
    main()
