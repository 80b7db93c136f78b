"""Eight runs on this machine: a sweep over processes of one thread against a hand-written loop on all threads.

The shape is the textbook's, with every position asked; or recall's as it ships, twice the vocabulary, where four
positions of 64 are asked and a loop that is written once for any task projects them all. The loop takes its eight runs
one after the other on batches that are ready; the sweep plans, draws its own batches, tests and keeps every run. Both
are whole processes, started and ended.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Literal

from benchmarks.timing.pairs import Measured, interleaved, ratio
from benchmarks.timing.start import MAIN, said

RUNS, STEPS = 8, 400
Asked = Literal["every", "few"]
"""How many positions the runs are asked."""
VOCABULARY: dict[Asked, int] = {"every": 64, "few": 128}
RUNG: dict[Asked, tuple[str, ...]] = {
    "every": ("copy-delay", "--complexity", "1", "--set", "task.symbols=63", "--set", "task.alphabet=64"),
    "few": ("recall", "--complexity", "4"),
}
HAND = """
import sys, torch
from benchmarks.timing.textbook import Shape, by_hand
runs, steps, vocabulary = map(int, sys.argv[1:])
for _ in range(runs):
    step = by_hand(Shape(vocabulary=vocabulary), torch.device('cpu'))
    for _ in range(steps):
        step()
"""


def ours(kind: Asked, steps: int, processes: int, compiled: str) -> Callable[[], object]:
    """A sweep of eight seeds of one level that is never stopped early."""
    settings = {"train.steps": steps, "train.stop_at": "null"}
    settings |= {"train.validate_every": steps, "train.validation": 64, "train.test": 256}
    words = ["sweep", "--task", *RUNG[kind], "--seeds", str(RUNS)]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words += ["--device", "cpu", "--executor", f"processes:{processes}", "--no-weights", "--quiet", "--store"]

    def swept() -> None:
        with tempfile.TemporaryDirectory() as store:
            said(MAIN, *words, store, compiled=compiled)

    return swept


def eight(rounds: int, steps: int = STEPS, processes: int | None = None, kind: Asked = "every") -> Measured:
    """Runs per hour of the sweep over those of the loop."""
    count, vocabulary = processes or os.cpu_count() or 1, str(VOCABULARY[kind])
    with tempfile.TemporaryDirectory() as compiled:
        hand = partial(said, HAND, str(RUNS), str(steps), vocabulary, compiled=compiled)
        said(HAND, "1", "1", vocabulary, compiled=compiled)
        ours(kind, 1, count, compiled)()
        seconds = interleaved({"hand": hand, "ours": ours(kind, steps, count, compiled)}, rounds, warm=False)
    name = f"runs per hour, sweep of 8 / hand-written loop, {kind} position{'' if kind == 'every' else 's'} asked"
    note = f"{steps} steps, {count} processes, start and end included"
    return ratio(name, seconds["hand"], seconds["ours"], goal=2.2, note=note)
