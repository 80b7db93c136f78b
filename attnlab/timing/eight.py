"""Eight runs on this machine: a sweep over processes of one thread against a hand-written loop on all threads.

The shape is the textbook's. The loop takes its eight runs one after the other on batches that are ready; the sweep
plans, draws its own batches, tests and keeps every run. Both are whole processes, started and ended.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial

from attnlab.timing.pairs import Measured, interleaved, ratio
from attnlab.timing.start import MAIN, said

RUNS, STEPS = 8, 400
HAND = """
import sys, torch
from attnlab.timing.textbook import Shape, by_hand
for _ in range(int(sys.argv[1])):
    step = by_hand(Shape(), torch.device('cpu'))
    for _ in range(int(sys.argv[2])):
        step()
"""


def ours(steps: int, processes: int, compiled: str) -> Callable[[], object]:
    """A sweep of eight seeds of copying, every position asked, that is never stopped early."""
    settings = {"task.symbols": 63, "task.alphabet": 64, "train.steps": steps, "train.stop_at": "null"}
    settings |= {"train.validate_every": steps, "train.validation": 64, "train.test": 256}
    words = ["sweep", "--task", "copy-delay", "--complexity", "1", "--seeds", str(RUNS)]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words += ["--device", "cpu", "--executor", f"processes:{processes}", "--no-weights", "--quiet", "--store"]

    def swept() -> None:
        with tempfile.TemporaryDirectory() as store:
            said(MAIN, *words, store, compiled=compiled)

    return swept


def eight(rounds: int, steps: int = STEPS, processes: int | None = None) -> Measured:
    """Runs per hour of the sweep over those of the loop."""
    count = processes or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as compiled:
        hand = partial(said, HAND, str(RUNS), str(steps), compiled=compiled)
        said(HAND, "1", "1", compiled=compiled)
        ours(1, count, compiled)()
        seconds = interleaved({"hand": hand, "ours": ours(steps, count, compiled)}, rounds, warm=False)
    note = f"{steps} steps, {count} processes, start and end included"
    return ratio("runs per hour, sweep of 8 / hand-written loop", seconds["hand"], seconds["ours"], goal=2.2, note=note)
