"""The recipe that solves built-in ladders soonest: tables of the studies ``recipe*.yaml`` in this folder.

    attnlab sweep benchmarks/recipe.yaml --store results/recipe --executor processes:2 --no-weights
    python -m benchmarks.recipe results/recipe [--rounds 5]

The sweep counts the steps to solve, up to the next validation; they do not depend on the machine. A run that is not
solved counts with all its steps, and its accuracy stands in italics. The cost of a step is measured here: the recipes
take turns on one thread, and processor time counts. The last rows have, for each recipe, the number of runs that it
solved, and the geometric mean over rows of its seconds to solve over those of the default recipe.
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


def recipe_fields(spec: RunSpec) -> dict[str, Any]:
    """Every field of a run's model and training that a recipe may set; the attention is part of the row."""
    model = {name: value for name, value in spec.model if name not in ("attention", "modifiers", "position")}
    model |= {"position": str(spec.model.position), **dict(spec.model.modifiers)}
    return {**dict(spec.train), **model}


def varied_fields(records: Sequence[Record]) -> tuple[str, ...]:
    """Find the fields in which the recipes differ."""
    everything = [recipe_fields(record.spec) for record in records]
    return tuple(name for name in everything[0] if len({repr(one[name]) for one in everything}) > 1)


def heading(name: str, value: Any) -> str:
    """Write one field of a recipe for a heading."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else str(value)


def steps_program(spec: RunSpec) -> Program:
    """Make a program that takes some steps of a run."""
    import torch

    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, torch.device("cpu"))
    batches = [source.training(step, spec.train.batch_size) for step in range(STEPS)]

    def run() -> None:
        for batch in batches:
            stepper.step({0: batch}, {0: 1e-6})

    return run


def step_costs(runs: Row, default: Recipe, rounds: int) -> dict[Recipe, float]:
    """Measure the time of a step of each recipe over that of the default."""
    programs = {str(recipe): steps_program(own[0].spec) for recipe, own in runs.items()}
    seconds = interleaved(programs, rounds, clock=time.process_time)
    default_seconds = seconds[str(default)]
    return {
        recipe: statistics.median(own / other for own, other in zip(seconds[str(recipe)], default_seconds, strict=True))
        for recipe in runs
    }


def steps_to_solve(runs: Sequence[Record]) -> str:
    """Write the steps of each seed, or the accuracy of a run that is not solved."""
    return " / ".join(f"{run.steps:,}" if run.early_stopped else f"*{100 * run.accuracy.mean:.0f} %*" for run in runs)


def table(rows: Mapping[str, Row], names: Sequence[str], default: Recipe, rounds: int) -> None:
    """Print the steps to solve and the cost of a step, row by row, then the sums."""
    recipes = list(dict.fromkeys(recipe for runs in rows.values() for recipe in runs))
    heads = [", ".join(map(heading, names, recipe)) for recipe in recipes]
    print(f"| | {' | '.join(heads)} |\n{'|---' * (len(recipes) + 1)}|")
    ratios: dict[Recipe, list[float]] = {recipe: [] for recipe in recipes}
    for name, runs in rows.items():
        step = step_costs(runs, default, rounds)
        steps = {recipe: statistics.mean(run.steps for run in own) for recipe, own in runs.items()}
        for recipe in runs:
            ratios[recipe].append(step[recipe] * steps[recipe] / steps[default])
        cells = [f"{steps_to_solve(runs[recipe])} ({step[recipe]:.2f})" if recipe in runs else "" for recipe in recipes]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    records = {recipe: [run for runs in rows.values() for run in runs.get(recipe, [])] for recipe in recipes}
    solved = [f"{sum(run.early_stopped for run in records[recipe])} of {len(records[recipe])}" for recipe in recipes]
    print(f"| solved | {' | '.join(solved)} |")
    means = [f"{statistics.geometric_mean(ratios[recipe]):.2f}" for recipe in recipes]
    print(f"| seconds, over the default | {' | '.join(means)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="The recipe that solves built-in ladders soonest.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    records = Store(args.store).records()
    names = varied_fields(records)
    rows: dict[str, Row] = {}
    for record in records:
        task, values = record.spec.task, recipe_fields(record.spec)
        row = rows.setdefault(f"`{task.name} {task.level}`, `{record.spec.variant}`", {})
        row.setdefault(tuple(values[name] for name in names), []).append(record)
    default = recipe_fields(RunSpec(task=records[0].spec.task))
    table(rows, names, tuple(default[name] for name in names), args.rounds)


if __name__ == "__main__":
    main()
