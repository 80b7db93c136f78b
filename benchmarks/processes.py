"""Runs per hour of N processes of one thread, against those of one process.

    python -m benchmarks.processes             # 1 and 2 processes
    python -m benchmarks.processes 1 2 4 8

The runs are equal and take all their steps. The time between the first record and the last is measured, so that the
start of the workers does not count. On a machine that runs anything else the ratio means little.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from attnlab.config.inline_experiment import inline_experiment
from attnlab.execution.jobs import WorkerSettings
from attnlab.execution.processes import Processes
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.training.events import Event, RunFinished

RUNS = 12


def per_hour(count: int) -> float:
    """Measure the runs per hour of some processes while all of them are busy."""
    train = {"max_steps": 300, "early_stop_accuracy": None, "eval_every": 100}
    experiment = inline_experiment("recall", complexity=[4], seeds=RUNS + 2 * count, settings={"train": train})
    ended: list[float] = []

    def progress(event: Event) -> None:
        if isinstance(event, RunFinished):
            ended.append(time.perf_counter())

    executor = Processes(count, WorkerSettings(weights=False))
    try:
        with tempfile.TemporaryDirectory() as store:
            run_sweep(experiment, expand(experiment), Path(store), executor, progress=progress)
    finally:
        executor.close()
    inner = ended[
        count - 1 : len(ended) - count
    ]  # without the time in which some processes still start or are already idle
    return 3600 * (len(inner) - 1) / (inner[-1] - inner[0])


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [1, 2]
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    first = 0.0
    for count in counts:
        rate = per_hour(count)
        first = first or rate
        print(f"processes:{count}  {rate:8,.0f} runs per hour  {rate / first:.2f}x", flush=True)


if __name__ == "__main__":
    main()
