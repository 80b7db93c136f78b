"""Start-up: seconds of whole processes; and the peak memory of a training."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial

import torch

from attnlab.experiments.machine_bench import memory as memory_of_a_run
from benchmarks.timing.pairs import Measured, interleaved, summarize

MAIN = "from attnlab.cli import main; main()"
FIRST_STEP = """
import sys, time, torch
start = time.process_time()
from attnlab.cli import main
from attnlab.training.stepper import SingleStepper
original = SingleStepper.step
def step(self, *args):
    original(self, *args)
    sys.stderr.write(str(time.process_time() - start))
    raise SystemExit
SingleStepper.step = step
main()
"""
"""A training up to its first step: processor seconds since torch was imported."""


def starting(rounds: int) -> Iterator[Measured]:
    """Seconds until the help and the list of tasks are printed, and until the first step; sources are compiled before.

    Args:
        rounds: Number of rounds that count.

    Yields:
        One measurement per command.
    """
    with tempfile.TemporaryDirectory() as compiled, tempfile.TemporaryDirectory() as folder:
        programs = {
            words: partial(run_python, MAIN, *words.split(), compiled=compiled) for words in ("--help", "ls tasks")
        }
        for words, seconds in interleaved(programs, rounds).items():
            goal = 0.3 if words == "--help" else 0.4
            yield summarize(f"attnlab {words}", seconds, goal=goal, below=True, unit="s")
        first = partial(run_python, FIRST_STEP, *training(steps=1), folder, compiled=compiled)
        first()
        seconds = [float(first()) for _ in range(rounds)]
    yield summarize("first step, after the import of torch", seconds, goal=1.5, below=True, unit="s")


def memory() -> Measured:
    """The peak memory of a default training on the CPU in megabytes, torch included."""
    (host,) = memory_of_a_run(torch.device("cpu"))
    return summarize("memory of a default run", [host.median], goal=700, below=True, unit="MB")


def training(steps: int) -> list[str]:
    """The arguments of a default training on the CPU; the folder of its store follows."""
    return ["train", "--task", "recall", "--device", "cpu", "--steps", str(steps), "--quiet", "--store"]


def run_python(code: str, *words: str, compiled: str = "") -> str:
    """Run Python code in a new process.

    Args:
        code: The code.
        words: Its arguments.
        compiled: A folder for the compiled sources, for the next process to use, as in an installed package. Without
            it the environment decides.

    Returns:
        Its standard error.
    """
    variables = {**os.environ, "COLUMNS": "100"}
    if compiled:
        variables |= {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=variables).stderr
