"""Failure modes of small runs that are made to fail by a known cause: a confusion table.

    python -m benchmarks.failure_modes held-out --store results/failures     # a Markdown table, and every wrong run
    python -m benchmarks.failure_modes fresh --first 7000                    # other seeds
    python -m benchmarks.failure_modes fresh --probe                         # undecided runs are trained further

The runs are trained into a store, and their failure modes are read by ``attnlab report STORE --metric failure_mode
--json`` in a process of its own. Runs that the store has are not trained again. Rows are causes, columns are what is
reported; a perfect rule reports the expected failure mode in each row. A run whose failure mode names an alternative
counts apart: the expected one is among the two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.failure_causes import BASE, MODEL, Failing, failing_runs

FIRST = {"written": 3000, "held-out": 5000, "second": 6000, "third": 6500, "fourth": 6800, "fresh": 7000}
"""The first seed of each set."""


def trained(runs: Iterable[Failing], folder: Path) -> dict[str, Failing]:
    """Train the runs that a store does not have.

    Args:
        runs: Runs and their causes.
        folder: The store.

    Returns:
        The runs by id.
    """
    from attnlab.config.inline_parts import parse_part
    from attnlab.specs import ModelSpec, RunSpec, TrainSpec
    from attnlab.storage import Store
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.training.run import train_runs

    store = Store(folder)
    store.open()
    known = {record.id for record in store.records()}
    result = {}
    for run in runs:
        task = task_spec(find_ladder(run.task), run.options, run.level, ())
        model = ModelSpec.model_validate({**MODEL, **run.cause.model, "attention": parse_part(run.attention)})
        train = TrainSpec.model_validate({**BASE, **run.cause.train, "schedule": run.schedule})
        spec = RunSpec(task=task, model=model, train=train, seed=run.seed)
        result[spec.id] = run
        if spec.id not in known:
            started = time.perf_counter()
            store.append(train_runs([spec]))
            print(f"{run.cause.name}: {spec.summary}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return result


def reported(folder: Path, *, probe: bool = False) -> dict[str, dict[str, Any]]:
    """Read the failure modes of a store by the command line.

    Args:
        folder: The store.
        probe: Whether runs with two failure modes are probed first.

    Returns:
        What the report says of each run, by id.
    """
    words = [sys.executable, "-m", "attnlab", "report", str(folder), "--metric", "failure_mode", "--json"]
    words += ["--probe"] if probe else []
    data = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {run["id"]: run for run in data["runs"]}


def table(runs: Mapping[str, Failing], modes: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the confusion table, the runs that are not as expected, and how many are.

    Args:
        runs: The runs by id.
        modes: What is reported of each.

    Returns:
        Markdown.
    """
    labels = {id: " or ".join(filter(None, (modes[id]["failure_mode"], modes[id]["alternative"]))) for id in runs}
    counts: dict[tuple[str, str], Counter[str]] = {}
    for id, run in runs.items():
        counts.setdefault((run.cause.name, run.cause.expected), Counter())[labels[id]] += 1
    columns = [*dict.fromkeys(expected for _, expected in counts)]
    columns += sorted({*labels.values()} - {*columns})
    lines = [f"| cause | expected | {' | '.join(columns)} |", f"| --- | --- |{' ---: |' * len(columns)}"]
    for (cause, mode), found in counts.items():
        lines.append(f"| {cause} | {mode} | {' | '.join(str(found[label] or '') for label in columns)} |")
    expected = {id: run.cause.expected for id, run in runs.items()}
    right = sum(labels[id] == expected[id] for id in runs)
    first = sum(labels[id] != expected[id] == modes[id]["failure_mode"] for id in runs)
    second = sum(modes[id]["alternative"] == expected[id] for id in runs)
    wrong = len(runs) - right - first - second
    lines.append(f"\n{len(runs)} runs: {right} as expected, {first} with an alternative, {second} as the alternative, ")
    lines[-1] += f"{wrong} wrong."
    for id, run in runs.items():
        if labels[id] != expected[id]:
            where = f"{run.task}, {run.attention}, {run.schedule}, seed {run.seed}"
            lines.append(f"- {run.cause.name} ({where}): {labels[id]}; {modes[id]['evidence']}")
    return "\n".join(lines)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=FIRST)
    parser.add_argument("--store", type=Path, help="default: results/failures-SET")
    parser.add_argument("--seeds", type=int, default=1, help="how often each task and cause occurs")
    parser.add_argument("--first", type=int, help="the first seed")
    parser.add_argument("--probe", action="store_true", help="probe the runs that are not told apart")
    args = parser.parse_args()
    folder = args.store or Path("results") / f"failures-{args.set}"
    first = FIRST[args.set] if args.first is None else args.first
    runs = trained(failing_runs(args.set, first, args.seeds), folder)
    print(table(runs, reported(folder, probe=args.probe)))


if __name__ == "__main__":
    main()
