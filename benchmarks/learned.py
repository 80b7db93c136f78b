"""Which ladders the default model learns at their easiest level, within the ladder's own budget.

    python -m benchmarks.learned                    # every ladder, the cheapest first, then a Markdown table
    python -m benchmarks.learned recall copy        # only these
    python -m benchmarks.learned --minutes 0        # the table of the runs in the store, without training

Softmax attention with learned positions, two layers, width 64; one seed, one learning rate. A run stops as soon as the
validation split is solved. A budget above ``--steps`` is cut to that number, with the cosine schedule of the shorter
run, and the row shows both. Finished runs stay in the store and are not trained again. Where the best achievable
accuracy is not known, as for plain text, no run counts as solved.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from attnlab.config.ladder import Ladder
    from attnlab.experiments.request import Request
    from attnlab.records import Record
    from attnlab.specs import RunSpec

COLUMNS = ("ladder", "easiest level", "T", "V", "chance", "accuracy", "95 %", "steps", "budget", "time", "solved")
OVERHEAD = 32
"""Cost of a step in tokens, beside the tokens it reads; for the order of the runs."""


def request_of(ladder: Ladder, max_steps: int) -> Request:
    """Make the request for the easiest level of a ladder, with the ladder's budget but at most ``max_steps``."""
    from attnlab.experiments.request import Request
    from attnlab.specs import Part, TrainSpec

    budget = ladder.train.get("max_steps", TrainSpec().max_steps)
    settings = {"train": {"max_steps": max_steps}} if budget > max_steps else {}
    return Request(task=Part(name=ladder.name), complexity=ladder.levels[0], evaluate=(), settings=settings)


def cost(spec: RunSpec) -> int:
    """Estimate the cost of a training in tokens, to order the runs."""
    from attnlab.tasks.io.streams import Source

    return spec.train.max_steps * (Source(spec.task, spec.seed).length + OVERHEAD)


def row(cells: Iterable[str]) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def result_row(ladder: Ladder, spec: RunSpec, record: Record) -> str:
    """Write the row of one run."""
    from attnlab.specs import TrainSpec
    from attnlab.tasks.io.streams import build

    task, (low, high) = build(spec.task), record.accuracy.interval
    full_budget = ladder.train.get("max_steps", TrainSpec().max_steps)
    budget = f"{spec.train.max_steps:,}" + (f" of {full_budget:,}" if full_budget > spec.train.max_steps else "")
    cells = [
        f"`{ladder.name}`",
        f"{ladder.complexity} {ladder.levels[0]}",
        str(task.length),
        str(task.vocabulary),
        f"{100 * task.chance:.1f} %",
        f"{100 * record.accuracy.mean:.1f} %",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{record.steps:,}",
        budget,
        f"{record.environment['seconds']:.0f} s",
        "best accuracy unknown" if math.isnan(task.best_accuracy) else "yes" if record.solved else "**no**",
    ]
    return row(cells)


def table(ladders: Mapping[str, Ladder], specs: Mapping[str, RunSpec], done: Mapping[str, Record]) -> list[str]:
    """Write the rows of the finished runs by name, and the names of the others."""
    missing = [name for name, spec in specs.items() if spec.id not in done]
    lines = [row(COLUMNS), "|" + "---|" * len(COLUMNS)]
    lines += [result_row(ladders[name], spec, done[spec.id]) for name, spec in sorted(specs.items()) if spec.id in done]
    return [*lines, *(["", f"Not trained: {', '.join(sorted(missing))}."] if missing else [])]


def main() -> None:
    from attnlab.experiments.plan import plan
    from attnlab.experiments.run_train import run_train
    from attnlab.storage import Store
    from attnlab.tasks.io.ladders import builtin_ladders, find_ladder

    parser = argparse.ArgumentParser(description="Which ladders the default model learns at their easiest level.")
    parser.add_argument("names", nargs="*", help="ladders; all of them by default")
    parser.add_argument("--steps", type=int, default=4000, help="most steps of a run")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no run after this much processor time")
    parser.add_argument("--store", type=Path, default=Path("results/learned"))
    args = parser.parse_args()

    ladders = {one.name: one for one in (map(find_ladder, args.names) if args.names else builtin_ladders())}
    requests = {name: request_of(one, args.steps) for name, one in ladders.items()}
    specs = {name: plan(request)[0] for name, request in requests.items()}
    done = {record.id: record for record in Store(args.store).records()}
    for name, spec in sorted(specs.items(), key=lambda item: cost(item[1])):
        if spec.id not in done and time.process_time() < 60 * args.minutes:
            (done[spec.id],) = run_train(requests[name], store=args.store, device_name="cpu", resume=True)
            print(result_row(ladders[name], spec, done[spec.id]), file=sys.stderr, flush=True)
    print("\n".join(table(ladders, specs, done)))


if __name__ == "__main__":
    main()
