"""Whether the driver of a sweep is ready for a large cluster: 100,000 runs that train nothing, through the real thing.

    python -m benchmarks.driver                # 100,000 runs
    python -m benchmarks.driver --runs 10000

Plan, clerk and journal are the real ones; only the executor is faked: it hands back a record for every run as fast as
it is asked to. Each phase is a process of its own, as it would be, so that memory is that of the phase. Asked for: a
plan in under 10 s; 2,000 records per second, durable in batches of at most 1 s; a resume in under 5 s; under 1 GB.
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
RUNGS = (2, 4, 8, 16)
SEEDS = 5
HERE = {"attnlab": "0.1.0", "python": "3.11", "torch": "2.13", "numpy": "2.4", "system": "Linux", "device": "cpu"}


class Idle:
    """An executor whose runs take no time."""

    description, num_workers, settings = "idle", 1, WorkerSettings()

    def run(self, jobs: Iterable[Job], post: Send, interruption: Interruption) -> None:
        """Hand back a record for every run."""
        for job in jobs:
            post(Finished(job.name, tuple(map(record, job.specs))))

    def close(self) -> None:
        """Nothing to let go."""


def record(spec: RunSpec) -> Record:
    """What a run that does nothing shows."""
    score = Score(correct=1000, total=1024, chance=0.1)
    curve = (HistoryPoint(step=2000, loss=0.123456789, accuracy=0.987654321),)
    return Record(
        id=spec.id,
        spec=spec,
        status="done",
        steps=2000,
        parameters=100_000,
        accuracy=score,
        exact_match=score,
        loss=0.1,
        history=curve,
        environment={**HERE, "seconds": 12.345, "ended": "2026-01-01T00:00:00Z"},
    )


def phase(name: str, runs: int, store: Path) -> dict[str, float]:
    """One phase, measured: seconds and the most memory that was held."""
    rates = runs // (4 * len(RUNGS) * SEEDS)
    experiment = inline_experiment(
        "recall",
        attention=VARIANTS,
        complexity=RUNGS,
        grid={"lr": [1e-5 * (1 + rate) for rate in range(rates)]},
        seeds=SEEDS,
    )
    began = time.perf_counter()
    specs = expand(experiment)
    planned = time.perf_counter() - began
    result = {"runs": float(len(specs)), "plan": planned}
    if name == "run":
        gaps: list[float] = []
        append = Journal.append

        def watched(journal: Journal, records: Iterable[Record]) -> None:
            append(journal, records)
            gaps.append(time.perf_counter())

        Journal.append = watched  # type: ignore[method-assign, assignment]
        began = time.perf_counter()
        swept = run_sweep(experiment, specs, store, Idle())
        result |= {"sweep": time.perf_counter() - began, "batches": float(len(gaps))}
        result["longest"] = max(after - before for before, after in itertools.pairwise(gaps))
        assert swept.num_run == len(specs)
    if name == "resume":
        began = time.perf_counter()
        swept = run_sweep(experiment, specs, store, Idle())
        result |= {"sweep": time.perf_counter() - began, "ran": float(swept.num_run)}
    result["cpu"] = time.process_time()
    result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether the driver of a sweep is ready for a large cluster.")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--phase", choices=["plan", "run", "resume"])
    parser.add_argument("--store", type=Path)
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(phase(args.phase, args.runs, args.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("plan", "run", "resume"):
            words = [sys.executable, __file__, "--phase", name, "--runs", str(args.runs), "--store", folder]
            said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
            result = json.loads(said.splitlines()[-1])
            line = f"{name:<7}{result['runs']:>9,.0f} runs  plan {result['plan']:6.2f} s  {result['memory']:6,.0f} MB"
            line += f"  {result['cpu']:6.2f} s of one core in all"
            if name == "run":
                pace = result["runs"] / result["sweep"]
                line += f"  {result['sweep']:6.2f} s, {pace:,.0f} records/s"
                line += f", at most {result['longest']:.2f} s between batches"
            if name == "resume":
                line += f"  {result['sweep']:6.2f} s, {result['ran']:.0f} runs again"
            print(line, flush=True)


if __name__ == "__main__":
    main()
