"""Which recipe solves the shipped ladders soonest: the table of the study whose question is ``recipe.yaml``.

    attnlab sweep benchmarks/recipe.yaml --store results/recipe --executor processes:2 --no-weights
    python benchmarks/recipe.py [--store results/recipe] [--rounds 5]

Steps to solve are counted by the sweep, to the next look at the validation stream, and do not depend on the machine. A
run that is not solved counts with all its steps, and is marked. What a step costs is measured here, the optimisers
taking turns on one thread, by the time of the processor. Told for each recipe: how many runs it solved, and the
geometric mean over ladders of its seconds to solve over those of the first recipe.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from attnlab.record import Record
from attnlab.spec import RunSpec
from attnlab.store import Store
from attnlab.tasks.streams import Source
from attnlab.timing.pairs import Program, interleaved
from attnlab.training.stepper import SoloStepper

Recipe = tuple[str, float]
"""Optimiser and rate."""
FIRST: Recipe = ("adamw", 3e-3)
STEPS = 10


def programs(spec: RunSpec) -> dict[str, Program]:
    """Some steps of each optimiser on the data of a run."""
    import torch

    def stepping(optimiser: str) -> Program:
        own = spec.model_copy(update={"train": spec.train.model_copy(update={"optimiser": optimiser})})
        source = Source(own.task, own.seed)
        stepper = SoloStepper(own, source, torch.device("cpu"))
        batches = [source.training(step, own.train.batch) for step in range(STEPS)]

        def run() -> None:
            for batch in batches:
                stepper.step({0: batch}, {0: 1e-6})

        return run

    return {name: stepping(name) for name in ("adamw", "muon")}


def cost(spec: RunSpec, rounds: int) -> float:
    """A step of Muon over one of AdamW."""
    import time

    seconds = interleaved(programs(spec), rounds, clock=time.process_time)
    return statistics.median(muon / adamw for adamw, muon in zip(seconds["adamw"], seconds["muon"], strict=True))


def told(runs: Sequence[Record]) -> str:
    """Steps of each seed; unsolved ones marked."""
    return " / ".join(f"{run.steps:,}" if run.stopped else f"*{100 * run.accuracy.mean:.0f} %*" for run in runs)


def relative(runs: Mapping[Recipe, Sequence[Record]], recipe: Recipe, step: float) -> float:
    """Mean seconds of a recipe over those of the first."""
    own, first = (statistics.mean(run.steps for run in runs[name]) for name in (recipe, FIRST))
    return own / first * (step if recipe[0] == "muon" else 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Which recipe solves the shipped ladders soonest.")
    parser.add_argument("--store", type=Path, default=Path("results/recipe"))
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    by_task: dict[str, dict[Recipe, list[Record]]] = {}
    for record in Store(asked.store).records():
        task, train = record.spec.task, record.spec.train
        known = by_task.setdefault(f"{task.name} {task.complexity}", {})
        known.setdefault((train.optimiser, train.lr), []).append(record)
    recipes = sorted({recipe for runs in by_task.values() for recipe in runs})
    print(f"| ladder | {' | '.join(f'{optimiser} {lr:g}' for optimiser, lr in recipes)} | step, muon / adamw |")
    print("|---" * (len(recipes) + 2) + "|")
    ratios: dict[Recipe, list[float]] = {recipe: [] for recipe in recipes}
    for name, runs in by_task.items():
        step = cost(runs[FIRST][0].spec, asked.rounds)
        for recipe in recipes:
            ratios[recipe].append(relative(runs, recipe, step))
        print(f"| `{name}` | {' | '.join(told(runs[recipe]) for recipe in recipes)} | {step:.2f} |", flush=True)
    solved = [sum(run.stopped for runs in by_task.values() for run in runs[recipe]) for recipe in recipes]
    total = [sum(len(runs[recipe]) for runs in by_task.values()) for recipe in recipes]
    print(f"| solved | {' | '.join(f'{s} of {n}' for s, n in zip(solved, total, strict=True))} | |")
    means = [statistics.geometric_mean(ratios[recipe]) for recipe in recipes]
    print(f"| seconds, over {FIRST[0]} {FIRST[1]:g} | {' | '.join(f'{mean:.2f}' for mean in means)} | |")


if __name__ == "__main__":
    main()
