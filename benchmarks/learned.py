"""Which ladders the default model learns at their easiest level, within the ladder's own budget.

    python -m benchmarks.learned                    # every ladder, the cheapest first, then a Markdown table
    python -m benchmarks.learned recall copy        # only these
    python -m benchmarks.learned --minutes 0        # the table of what the store holds, without training

Softmax attention with learned positions, two layers, width 64; one seed, one learning rate. A run stops as soon as the
validation stream is solved. Where a budget is above ``--steps`` it is cut to that, with the cosine of the shorter run,
and the row says so. Finished runs are kept in the store and not trained again. Where the ceiling is not known, as for
plain text, no accuracy is called solved.
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

HEADS = ("ladder", "easiest level", "T", "V", "chance", "accuracy", "95 %", "steps", "budget", "time", "solved")
OVERHEAD = 32
"""Tokens that a step costs beside those it reads, for the order of the runs."""


def asked(ladder: Ladder, most: int) -> Request:
    """The easiest level of a ladder with its own budget, or the part of it that is allowed."""
    from attnlab.experiments.request import Request
    from attnlab.specs import Part, TrainSpec

    budget = ladder.train.get("steps", TrainSpec().max_steps)
    settings = {"train": {"max_steps": most}} if budget > most else {}
    return Request(task=Part(name=ladder.name), complexity=ladder.levels[0], evaluate=(), settings=settings)


def cost(spec: RunSpec) -> int:
    """Tokens of the whole training, near enough to tell cheap runs from dear ones."""
    from attnlab.tasks.io.streams import Source

    return spec.train.max_steps * (Source(spec.task, spec.seed).length + OVERHEAD)


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def told(ladder: Ladder, spec: RunSpec, record: Record) -> str:
    """What one run showed."""
    from attnlab.specs import TrainSpec
    from attnlab.tasks.io.streams import build

    task, (low, high) = build(spec.task), record.accuracy.interval
    own = ladder.train.get("steps", TrainSpec().max_steps)
    budget = f"{spec.train.max_steps:,}" + (f" of {own:,}" if own > spec.train.max_steps else "")
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
        "no ceiling known" if math.isnan(task.best_accuracy) else "yes" if record.solved else "**no**",
    ]
    return row(cells)


def table(ladder: Mapping[str, Ladder], specs: Mapping[str, RunSpec], done: Mapping[str, Record]) -> list[str]:
    """The rows of what is trained, by name, and the names of what is not."""
    missing = [name for name, spec in specs.items() if spec.id not in done]
    lines = [row(HEADS), "|" + "---|" * len(HEADS)]
    lines += [told(ladder[name], spec, done[spec.id]) for name, spec in sorted(specs.items()) if spec.id in done]
    return [*lines, *(["", f"Not trained: {', '.join(sorted(missing))}."] if missing else [])]


def main() -> None:
    from attnlab.experiments.plan import plan
    from attnlab.experiments.run_train import run_train
    from attnlab.storage import Store
    from attnlab.tasks.io.ladders import builtin_ladders, find_ladder

    parser = argparse.ArgumentParser(description="Which ladders the default model learns at their easiest level.")
    parser.add_argument("names", nargs="*", help="ladders; all of them if none is named")
    parser.add_argument("--steps", type=int, default=4000, help="most steps of a run")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no run after so many, of the processor")
    parser.add_argument("--store", type=Path, default=Path("results/learned"))
    wish = parser.parse_args()

    ladder = {one.name: one for one in (map(find_ladder, wish.names) if wish.names else builtin_ladders())}
    requests = {name: asked(one, wish.steps) for name, one in ladder.items()}
    specs = {name: plan(request)[0] for name, request in requests.items()}
    done = {record.id: record for record in Store(wish.store).records()}
    for name, spec in sorted(specs.items(), key=lambda item: cost(item[1])):
        if spec.id not in done and time.process_time() < 60 * wish.minutes:
            (done[spec.id],) = run_train(requests[name], store=wish.store, device_name="cpu", resume=True)
            print(told(ladder[name], spec, done[spec.id]), file=sys.stderr, flush=True)
    print("\n".join(table(ladder, specs, done)))


if __name__ == "__main__":
    main()
