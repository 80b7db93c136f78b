"""What it takes to start: processor seconds of whole processes on one thread, beside what nobody can save.

    python -m benchmarks.startup [--rounds 5]

Sources are compiled beforehand, as they are in an installed package; each row is the median of its rounds, and the rows
take turns. The floors: Python itself, torch, and the libraries that a list of tasks goes through. The first step
is counted from the end of torch's own import, and everything after it counts: imports, the plan, the model, the data.
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

from benchmarks.timing.start import FIRST, MAIN, training

LIBRARIES = "import typer, rich.console, numpy, yaml; from pydantic import BaseModel, Field, TypeAdapter"
FLOORS = {
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
            return float(run(FIRST, " ".join([*training(steps=1), f"{folder}/store"])))

        rows: dict[tuple[str, float | None], Callable[[], float]] = {}
        rows |= {(f"*{floor}*", None): partial(spent, code) for floor, code in FLOORS.items()}
        rows |= {(f"`attnlab {words}`", goal): partial(spent, MAIN, words) for words, goal in COMMANDS.items()}
        rows[("first step of `attnlab train`, after `import torch`", 1.5)] = first
        seconds: dict[tuple[str, float | None], list[float]] = {row: [] for row in rows}
        for round_ in range(rounds + 1):
            for row, measure in rows.items():
                spent_s = measure()
                seconds[row] += [spent_s] if round_ else []  # the first time compiles
    print("| command | processor seconds | goal |\n|---|---|---|")
    for (what, goal), result in seconds.items():
        print(f"| {what} | {statistics.median(result):.2f} | {goal or ''} |")


if __name__ == "__main__":
    main()
