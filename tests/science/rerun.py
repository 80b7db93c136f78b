"""Published runs, run again: which of them, and what must be the same.

A cell is what its runs have in common beside their seed. Three are run again: of the cells whose seeds agree most,
which rounding on another machine upsets least, the cheapest, the middle and the dearest; of each, as many seeds as fit
into a minute by the seconds that are published.

Under the same versions on the same kind of processor a run gives the same numbers. Elsewhere, rounding differs and
grows along the training, until the run is like one of another seed. So what must hold is the conclusion: the run ends
in one of the ways in which the runs of its cell ended (done or diverged, solved or not), and every number that is
reported or claimed is within the range of the cell's seeds, with a margin on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from attnlab.analysis._observations import Observation, observations
from attnlab.config.experiment import Experiment
from attnlab.records import Record
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import torch_threads
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper

MARGIN = 0.05
"""Of an accuracy, 5 points; of other numbers, 5 % of the largest of the cell."""
MOST_SECONDS = 60.0
"""Published seconds of what is run again of one cell, unless one run alone takes longer."""
ROUNDING = 1e-5
"""Relative difference of the loss of a first step that rounding makes at most. Without vector instructions
(``ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2``) it was 1e-7 over 25 cells; scores halved: 3e-4."""

Cell = tuple[Record, ...]
"""Runs that differ in their seed alone."""


class Place(NamedTuple):
    """A number of a run."""

    subtask: str
    level: object
    metric: str


def cells_of(records: Iterable[Record]) -> list[Cell]:
    """Group runs that differ in their seed alone."""

    def key(record: Record) -> str:
        return record.spec.model_copy(update={"seed": 0}).id

    return [tuple(runs) for _, runs in groupby(sorted(records, key=key), key=key)]


def metrics_of(experiment: Experiment) -> list[str]:
    """The metrics that an experiment reports or makes claims about."""
    return list(dict.fromkeys(["accuracy", experiment.report.metric, *(claim.metric for claim in experiment.claims)]))


def numbers_of(record: Record, metrics: Sequence[str]) -> dict[Place, float]:
    """The numbers of a run, on its own level and on all others."""
    found: list[Observation] = observations([record])
    own = [metric for metric in metrics if metric not in ("seconds", "seconds_to_solve")]
    numbers = {Place(one.subtask, one.level, metric): one.metric(metric) for one in found for metric in own}
    return {place: number for place, number in numbers.items() if number == number}  # without nan


def differences(cell: Cell, again: Record, metrics: Sequence[str]) -> list[str]:
    """Tell in which ways a run that was run again leads to another conclusion than its cell; nothing if it does not."""
    told = []
    for name, now, before in (
        ("status", again.status, {record.status for record in cell}),
        ("solved", again.solved, {record.solved for record in cell}),
    ):
        if now not in before:
            told.append(f"{name}: {now}, published {' or '.join(map(str, before))}")
    published = [numbers_of(record, metrics) for record in cell]
    ours = numbers_of(again, metrics)
    for place in dict.fromkeys(place for numbers in (ours, *published) for place in numbers):
        values = [numbers[place] for numbers in published if place in numbers]
        if place not in ours or not values:
            told.append(f"{place}: only {'published' if values else 'run again'}")
            continue
        margin = MARGIN * (1.0 if place.metric == "accuracy" else max(map(abs, values)))
        if not min(values) - margin <= ours[place] <= max(values) + margin:
            told.append(f"{place}: {ours[place]:.4g}, published {min(values):.4g} to {max(values):.4g}")
    return told


def chosen(cells: Sequence[Cell]) -> list[Cell]:
    """Of the cells whose seeds agree most, half of them and at least three: the cheapest, the middle, the dearest."""
    agreeing = sorted(cells, key=_disagreement)[: max(3, len(cells) // 2)]
    by_cost = sorted(agreeing, key=_seconds)
    return [by_cost[index] for index in sorted({0, len(by_cost) // 2, len(by_cost) - 1})]


def affordable(cell: Cell) -> Cell:
    """The first seeds of a cell, as many as fit into :data:`MOST_SECONDS`, and at least one."""
    return cell[: max(1, int(MOST_SECONDS // max(_seconds(cell), 1e-3)))]


def run_again(records: Sequence[Record]) -> list[Record]:
    """Run some runs of one cell again, one by one, each with as many threads as it had."""
    with torch_threads(int(records[0].environment.get("threads", 1))):
        return train_runs([record.spec for record in records])


def first_loss(record: Record) -> float:
    """The loss of the first step of a run, before anything is learned.

    The step is that of the whole plan: a range of training that moves is another one in a shorter plan.
    """
    spec, train = record.spec, record.spec.train
    source = Source(spec.task, spec.seed, train.train_examples, train.max_steps)
    with torch_threads(int(record.environment.get("threads", 1))):
        stepper = SingleStepper(spec, source, torch.device("cpu"))
        stepper.step({0: source.training(0, train.batch_size)}, {0: train.lr})
        (loss,) = stepper.losses()[0]
    return loss


def _seconds(cell: Cell) -> float:
    return sum(float(record.environment["seconds"]) for record in cell) / len(cell)


def _disagreement(cell: Cell) -> float:
    """How much the seeds of a cell differ: whether they are solved, then the widest range of an accuracy."""
    found = [numbers_of(record, ["accuracy"]) for record in cell]
    ranges = [max(one[place] for one in found) - min(one[place] for one in found) for place in found[0]]
    return len({(record.status, record.solved) for record in cell}) + max(ranges)
