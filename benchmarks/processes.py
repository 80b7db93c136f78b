"""How many more runs per hour N processes of one thread do than one.

    python -m benchmarks.processes             # 1 and 2 processes
    python -m benchmarks.processes 1 2 4 8

The runs are alike and take all their steps; what is measured is the time between the first record and the last, so
that starting the workers, which is paid once, is left out. On a machine that does anything else the ratio says little.
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
    """Runs per hour, of that many processes, once all of them are at work."""
    train = {"steps": 300, "stop_at": None, "validate_every": 100}
    experiment = inline_experiment("recall", complexity=[4], seeds=RUNS + 2 * count, settings={"train": train})
    ended: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, RunFinished):
            ended.append(time.perf_counter())

    executor = Processes(count, WorkerSettings(weights=False))
    try:
        with tempfile.TemporaryDirectory() as store:
            run_sweep(experiment, expand(experiment), Path(store), executor, progress=watch)
    finally:
        executor.close()
    inner = ended[count - 1 : len(ended) - count]  # neither while the first start nor while the last are left alone
    return 3600 * (len(inner) - 1) / (inner[-1] - inner[0])


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [1, 2]
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    first = 0.0
    for count in counts:
        pace = per_hour(count)
        first = first or pace
        print(f"processes:{count}  {pace:8,.0f} runs per hour  {pace / first:.2f}x", flush=True)


if __name__ == "__main__":
    main()
