"""Eight runs on this machine: a sweep over processes of one thread against a hand-written loop on all threads.

The shape is the textbook shape with a target at every position; or that of recall as it ships, with twice the
vocabulary and targets at 4 of 64 positions, where a loop that is written once for any task computes the logits of all
positions. The loop takes its eight runs one after the other on batches that are drawn before. The sweep plans, draws
its own batches, tests, and writes every run. Both are whole processes, from start to end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Literal

from benchmarks.timing.pairs import Measured, interleaved, ratio
from benchmarks.timing.startup import MAIN, run_python

RUNS, STEPS = 8, 400
Targets = Literal["every", "few"]
"""How many positions have targets."""
VOCABULARY: dict[Targets, int] = {"every": 64, "few": 128}
LEVEL: dict[Targets, tuple[str, ...]] = {
    "every": ("copy-delay", "--complexity", "1", "--set", "task.symbols=63", "--set", "task.alphabet=64"),
    "few": ("recall", "--complexity", "4"),
}
HAND_WRITTEN = """
import sys, torch
from benchmarks.timing.textbook import Shape, hand_written
runs, steps, vocabulary = map(int, sys.argv[1:])
for _ in range(runs):
    step = hand_written(Shape(vocabulary=vocabulary), torch.device('cpu'))
    for _ in range(steps):
        step()
"""


def sweep_program(targets: Targets, steps: int, processes: int, compiled: str) -> Callable[[], object]:
    """Make a program that runs a sweep of eight seeds of one level, without early stopping."""
    settings = {"train.max_steps": steps, "train.early_stop_accuracy": "null"}
    settings |= {"train.eval_every": steps, "train.validation_examples": 64, "train.test_examples": 256}
    words = ["sweep", "--task", *LEVEL[targets], "--seeds", str(RUNS)]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words += ["--device", "cpu", "--executor", f"processes:{processes}", "--no-weights", "--quiet", "--store"]

    def run() -> None:
        with tempfile.TemporaryDirectory() as store:
            run_python(MAIN, *words, store, compiled=compiled)

    return run


def eight_runs(rounds: int, steps: int = STEPS, processes: int | None = None, targets: Targets = "every") -> Measured:
    """Measure the runs per hour of the sweep over those of the loop.

    Args:
        rounds: Number of rounds.
        steps: Steps of each run.
        processes: Workers of the sweep; None takes one per core.
        targets: The shape: a target at every position, or at few.

    Returns:
        The ratio.
    """
    count, vocabulary = processes or os.cpu_count() or 1, str(VOCABULARY[targets])
    with tempfile.TemporaryDirectory() as compiled:
        loop = partial(run_python, HAND_WRITTEN, str(RUNS), str(steps), vocabulary, compiled=compiled)
        run_python(HAND_WRITTEN, "1", "1", vocabulary, compiled=compiled)
        sweep_program(targets, 1, count, compiled)()
        sweep = sweep_program(targets, steps, count, compiled)
        seconds = interleaved({"loop": loop, "sweep": sweep}, rounds, warm=False)
    name = f"runs per hour, sweep of 8 / hand-written loop, targets at {targets} position{'s' * (targets == 'few')}"
    note = f"{steps} steps, {count} processes, start and end included"
    return ratio(name, seconds["loop"], seconds["sweep"], goal=2.2, note=note)
