"""What it takes to start: seconds of whole processes, and the most memory a training holds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial

from benchmarks.timing.pairs import Measured, interleaved, line

MAIN = "from attnlab.cli import main; main()"
PEAK = """
import resource, sys
from attnlab.cli import main
try:
    main()
finally:
    from attnlab.training.memory import status_field
    # A process on Linux starts with the peak of the one it came from; that of its own memory stands elsewhere.
    peak = status_field('VmHWM') or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stderr.write(str(peak / 2**20))
"""
FIRST = """
import sys, time, torch
start = time.process_time()
from attnlab.cli import main
from attnlab.training.stepper import SingleStepper
taken = SingleStepper.step
def step(self, *given):
    taken(self, *given)
    sys.stderr.write(str(time.process_time() - start))
    raise SystemExit
SingleStepper.step = step
main()
"""
"""A training up to its first step: processor seconds since torch was imported."""


def starting(rounds: int) -> Iterator[Measured]:
    """Seconds until the help is printed, tasks are listed, and the first step is taken; sources are compiled before."""
    with tempfile.TemporaryDirectory() as compiled, tempfile.TemporaryDirectory() as folder:
        programs = {words: partial(said, MAIN, *words.split(), compiled=compiled) for words in ("--help", "ls tasks")}
        for words, seconds in interleaved(programs, rounds).items():
            goal = 0.3 if words == "--help" else 0.4
            yield line(f"attnlab {words}", seconds, goal=goal, below=True, unit="s")
        first = partial(said, FIRST, *training(steps=1), folder, compiled=compiled)
        first()
        seconds = [float(first()) for _ in range(rounds)]
    yield line("first step, after torch's import", seconds, goal=1.5, below=True, unit="s")


def memory() -> Measured:
    """Megabytes that a default run on a CPU holds at most, torch included."""
    with tempfile.TemporaryDirectory() as folder:
        peak = float(said(PEAK, *training(steps=30), folder))
    return line("memory of a default run", [peak], goal=700, below=True, unit="MB")


def training(steps: int) -> list[str]:
    """The words of a default training on a CPU, but for the folder of its store."""
    return ["train", "--task", "recall", "--device", "cpu", "--steps", str(steps), "--quiet", "--store"]


def said(code: str, *words: str, compiled: str = "") -> str:
    """What a process of Python writes to its standard error.

    Args:
        code: What it runs.
        words: Its arguments.
        compiled: A folder that keeps what is compiled of sources, for the next process to find, as an installed
            package has it; left out, whatever the environment says.
    """
    quiet = {**os.environ, "COLUMNS": "100"}
    if compiled:
        quiet |= {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, env=quiet)
    return done.stderr
