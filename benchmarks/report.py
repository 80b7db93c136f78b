"""How long ``attnlab report`` takes over 10,000 records, as a whole process: start, reading, statistics, tables.

    python -m benchmarks.report [RECORDS]

The project promises less than two seconds on an idle machine, without importing torch. Processor time is printed beside
wall time; where other programs run, only processor time means something.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attnlab.records import HistoryPoint, Record, Score
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec
from attnlab.storage import Store

TASKS, VARIANTS, LEVELS, EVALUATIONS = 10, 10, 10, 20
ROUNDS = 5
CODE = """
import sys
from attnlab.cli import main
try:
    main()
finally:
    assert 'torch' not in sys.modules, 'torch was imported'
"""


def make_records(count: int) -> Iterator[Record]:
    """Make runs of ten tasks, ten variants, ten levels and enough seeds; accuracies fall along the ladder."""
    random = np.random.default_rng(0)
    seeds = -(-count // (TASKS * VARIANTS * LEVELS))
    combinations = itertools.product(range(TASKS), range(VARIANTS), range(LEVELS), range(seeds))
    for task, variant, level, seed in itertools.islice(combinations, count):
        spec = RunSpec(
            task=TaskSpec(
                name=f"task-{task}", options={"pairs": 2**level, "length": 64}, complexity="pairs", version=1
            ),
            model=ModelSpec(attention=(Part(name=f"variant-{variant}", version=1),)),
            seed=seed,
        )
        share = 1 / (1 + np.exp(level - variant + random.normal(0, 0.5)))
        history = tuple(
            HistoryPoint(step=100 * index, loss=2.0 - share * index / EVALUATIONS, accuracy=share * index / EVALUATIONS)
            for index in range(1, EVALUATIONS + 1)
        )
        yield Record(
            id=spec.id,
            spec=spec,
            status="done",
            steps=2000,
            parameters=100_000,
            accuracy=Score(correct=round(4096 * share), total=4096, chance=0.0625),
            exact_match=Score(correct=round(1024 * share**4), total=1024, chance=0.0001),
            loss=2.0 - share,
            history=history,
            environment={"seconds": 20.0, "device": "cpu", "torch": "2.13.0", "host": "here", "vmap": 1},
        )


def timed(words: list[str]) -> tuple[float, float]:
    """Measure the wall time and the processor time of a process, in seconds."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", CODE, *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, spent


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.open()
        store.append(make_records(count))
        size = store.journal.path.stat().st_size / 1e6
        print(f"{count:,} records, {size:.0f} MB of journal; best of {ROUNDS}")
        for words in (["--help"], ["report", folder], ["report", folder, "--json"]):
            rounds = [timed(words) for _ in range(ROUNDS)]
            clock, processor = (min(seconds) for seconds in zip(*rounds, strict=True))
            command = " ".join(words).replace(folder, "STORE")
            print(f"attnlab {command:<20} {clock:6.2f} s wall time  {processor:6.2f} s processor time")


if __name__ == "__main__":
    main()
