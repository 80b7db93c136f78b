"""Start-up: processor seconds of whole processes on one thread, beside the time of Python and the libraries alone.

    python -m benchmarks.startup [--rounds 5]

Sources are compiled beforehand, as they are in an installed package. Each row is the median of its rounds, and the rows
take turns. The lower bounds are Python alone, the import of torch, and the libraries that a list of tasks imports. The
time until the first step starts after the import of torch; imports, the plan, the model and the data count.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

from benchmarks.timing.startup import FIRST_STEP, MAIN, training

LIBRARIES = "import typer, rich.console, numpy, yaml; from pydantic import BaseModel, Field, TypeAdapter"
LOWER_BOUNDS = {
    "Python alone": "pass",
    "import typer, pydantic, rich, numpy, yaml": LIBRARIES,
    "import torch": "import torch",
}
COMMANDS = {
    "--help": 0.3,
    "ls tasks": 0.4,
    "ls experiments": 0.4,
    "ls results": 0.4,
    "ls attention": None,
    "ls position": None,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Processor seconds of starting.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        compiled = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        compiled.pop("PYTHONDONTWRITEBYTECODE", None)

        def spent(code: str, words: str = "") -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run(code, words)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        def run(code: str, words: str) -> str:
            line = [sys.executable, "-c", code, *words.split()]
            return subprocess.run(line, capture_output=True, text=True, check=True, env=compiled, cwd=folder).stderr

        def first() -> float:
            return float(run(FIRST_STEP, " ".join([*training(steps=1), f"{folder}/store"])))

        rows: dict[tuple[str, float | None], Callable[[], float]] = {}
        rows |= {(f"*{name}*", None): partial(spent, code) for name, code in LOWER_BOUNDS.items()}
        rows |= {(f"`attnlab {words}`", goal): partial(spent, MAIN, words) for words, goal in COMMANDS.items()}
        rows[("first step of `attnlab train`, after `import torch`", 1.5)] = first
        seconds: dict[tuple[str, float | None], list[float]] = {row: [] for row in rows}
        for round_ in range(rounds + 1):
            for row, measure in rows.items():
                value = measure()
                seconds[row] += [value] if round_ else []  # the first round compiles
    print("| command | processor seconds | goal |\n|---|---|---|")
    for (name, goal), values in seconds.items():
        print(f"| {name} | {statistics.median(values):.2f} | {goal or ''} |")


if __name__ == "__main__":
    main()
