"""Which recipe solves the shipped ladders soonest: tables of the studies whose questions are the ``recipe*.yaml`` here.

    attnlab sweep benchmarks/recipe.yaml --store results/recipe --executor processes:2 --no-weights
    python -m benchmarks.recipe results/recipe [--rounds 5]

Steps to solve are counted by the sweep, to the next look at the validation stream, and do not depend on the machine. A
run that is not solved counts with all its steps, and its accuracy stands in italics. What a step costs is measured
here: the recipes take turns on one thread, by the time of the processor. Told for each recipe: how many runs it solved,
and the geometric mean over rows of its seconds to solve over those of the default recipe.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import SingleStepper
from benchmarks.timing.pairs import Program, interleaved

Recipe = tuple[Any, ...]
"""Values of the fields in which the recipes differ."""
Row = dict[Recipe, list[Record]]
STEPS = 10


def said(spec: RunSpec) -> dict[str, Any]:
    """Every field of a run's model and training that a recipe may set; the attention has a row of its own."""
    model = {name: value for name, value in spec.model if name not in ("attention", "modifiers", "position")}
    model |= {"position": str(spec.model.position), **dict(spec.model.modifiers)}
    return {**dict(spec.train), **model}


def fields(records: Sequence[Record]) -> tuple[str, ...]:
    """What the recipes differ in."""
    everything = [said(record.spec) for record in records]
    return tuple(name for name in everything[0] if len({repr(one[name]) for one in everything}) > 1)


def word(name: str, value: Any) -> str:
    """A field of a recipe, in words."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else str(value)


def stepping(spec: RunSpec) -> Program:
    """Some steps of a run."""
    import torch

    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, torch.device("cpu"))
    batches = [source.training(step, spec.train.batch_size) for step in range(STEPS)]

    def run() -> None:
        for batch in batches:
            stepper.step({0: batch}, {0: 1e-6})

    return run


def costs(runs: Row, default: Recipe, rounds: int) -> dict[Recipe, float]:
    """A step of each recipe over one of the default."""
    programs = {str(recipe): stepping(own[0].spec) for recipe, own in runs.items()}
    seconds = interleaved(programs, rounds, clock=time.process_time)
    first = seconds[str(default)]
    return {
        recipe: statistics.median(own / other for own, other in zip(seconds[str(recipe)], first, strict=True))
        for recipe in runs
    }


def told(runs: Sequence[Record]) -> str:
    """Steps of each seed; unsolved ones by their accuracy."""
    return " / ".join(f"{run.steps:,}" if run.early_stopped else f"*{100 * run.accuracy.mean:.0f} %*" for run in runs)


def table(rows: Mapping[str, Row], names: Sequence[str], default: Recipe, rounds: int) -> None:
    """Steps to solve and the cost of a step, row by row, and what they come to."""
    recipes = list(dict.fromkeys(recipe for runs in rows.values() for recipe in runs))
    heads = [", ".join(map(word, names, recipe)) for recipe in recipes]
    print(f"| | {' | '.join(heads)} |\n{'|---' * (len(recipes) + 1)}|")
    ratios: dict[Recipe, list[float]] = {recipe: [] for recipe in recipes}
    for name, runs in rows.items():
        step = costs(runs, default, rounds)
        taken = {recipe: statistics.mean(run.steps for run in own) for recipe, own in runs.items()}
        for recipe in runs:
            ratios[recipe].append(step[recipe] * taken[recipe] / taken[default])
        cells = [f"{told(runs[recipe])} ({step[recipe]:.2f})" if recipe in runs else "" for recipe in recipes]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    records = {recipe: [run for runs in rows.values() for run in runs.get(recipe, [])] for recipe in recipes}
    solved = [f"{sum(run.early_stopped for run in records[recipe])} of {len(records[recipe])}" for recipe in recipes]
    print(f"| solved | {' | '.join(solved)} |")
    means = [f"{statistics.geometric_mean(ratios[recipe]):.2f}" for recipe in recipes]
    print(f"| seconds, over the default | {' | '.join(means)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Which recipe solves the shipped ladders soonest.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    records = Store(args.store).records()
    names = fields(records)
    rows: dict[str, Row] = {}
    for record in records:
        task, values = record.spec.task, said(record.spec)
        row = rows.setdefault(f"`{task.name} {task.level}`, `{record.spec.variant}`", {})
        row.setdefault(tuple(values[name] for name in names), []).append(record)
    default = said(RunSpec(task=records[0].spec.task))
    table(rows, names, tuple(default[name] for name in names), args.rounds)


if __name__ == "__main__":
    main()
