"""The cost of a plan, estimated from a few real steps of some of its shapes.

Runs of one shape take the same time per step. Some shapes are timed, with as many threads and vmapped runs as the
workers will have; the others are modeled (:mod:`attnlab.experiments.shape_timing`). Of every kind of model on every
kind of sequence the shape with the most operations is timed first, then the one with the fewest, then those between,
until the time is over. A run that is solved stops early; :mod:`attnlab.experiments.known_steps` tells when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from attnlab.execution.jobs import Executor
from attnlab.execution.processes import WORKER_MEMORY
from attnlab.experiments._budget import flops
from attnlab.experiments.grouping import vmap_per_worker
from attnlab.experiments.known_steps import KnownSteps, known_runs
from attnlab.experiments.plan_cost import CostEstimate, ShapeCost
from attnlab.experiments.shape_timing import ShapeTiming, modeled, shape_cost
from attnlab.experiments.step_timing import clock_of, time_shape
from attnlab.model.base import Model
from attnlab.model.transformer import build_model
from attnlab.run_labels import RunLabels, one_of_each
from attnlab.sizes import available_memory
from attnlab.specs import ModelSpec, RunSpec
from attnlab.storage import Store
from attnlab.storage.stored_record import fill
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import device

TIMING_SECONDS = 2.5
"""Time in which shapes are timed, by the clock of their steps; one shape at least is, whatever it takes."""
LONGEST_SHARE = 0.2
"""Share of the time that the steps of one shape may take."""
SAME = 0.1
"""A shape is not timed if the operations of a timed one of its kind differ by so little, relative to its own."""
WORKER_START = 1.3
"""Start of a worker over the imports of the sweep: its first step imports a few more modules."""
SIZES = ("width", "mlp_ratio", "layers", "matched")
"""Fields of a model that change its operations, and not its kind."""


@dataclass(frozen=True)
class Planning:
    """What it took to plan, in seconds of processor time: the sweep does it again."""

    imports: float = 0.0
    """From the start of the process until everything is imported that a worker imports too."""
    total: float = 0.0
    """From the start of the process until the plan was ready."""


@dataclass(frozen=True)
class Shape:
    """Runs of one shape, and what is counted of them without a step."""

    runs: Sequence[RunSpec]
    missing: Sequence[RunSpec]
    source: Source
    parameters: int
    flops: int
    kind: tuple[Any, ...]
    """What shapes have in common of which one is modeled by the others; the first items matter most."""

    @property
    def operations(self) -> float:
        """Operations of a forward pass over one batch."""
        return float(max(1, self.flops) * self.runs[0].train.batch_size)

    @property
    def work(self) -> float:
        """Operations of all missing steps: what the cost of the plan depends on most is timed first."""
        return len(self.missing) * self.operations * self.runs[0].train.max_steps


def estimate_cost(
    specs: Sequence[RunSpec],
    store: Path,
    executor: Executor,
    expected: float | None = None,
    *,
    planning: Planning | None = None,
    seconds: float = TIMING_SECONDS,
    opened: Store | None = None,
) -> CostEstimate:
    """Estimate the cost of a plan by taking a few steps of some of its shapes.

    Args:
        specs: The plan.
        store: The store whose finished runs are not run again, and tell how many steps like runs take.
        executor: The executor that would run it.
        expected: Expected share of its steps that a run takes, where no like run is known; None expects all.
        planning: What it took to plan, which counts as start-up; None leaves start-up out.
        seconds: Time in which shapes are timed, by the clock of their steps: processor time on a CPU. One is timed at
            least, and one alone where no run is missing; shapes that were not timed are modeled.
        opened: That store, where it was read before, so that it is read once; None opens it.

    Returns:
        The cost of each shape, and of all.

    Raises:
        DeviceError: This machine does not have the executor's device.
        StoreError: The store cannot be read.
    """
    records = (opened or Store(store)).scan()
    fill(records)
    finished = {record.id for record in records if record.status != "failed"}
    known = KnownSteps(known_runs(records))
    where, planning = device(executor.settings.device), planning or Planning()
    most = vmap_per_worker(executor, sum(spec.id not in finished for spec in specs))
    threads = torch.get_num_threads()
    if executor.settings.threads:
        torch.set_num_threads(executor.settings.threads)
    try:
        shapes = _shapes(specs, finished)
        timings: dict[int, ShapeTiming] = {}
        clock = clock_of(where)
        end = clock() + (seconds if any(shape.missing for shape in shapes) else 0.0)
        for index in _order(shapes):
            if not timings or clock() < end:
                shape = shapes[index]
                wanted = (shape.missing or shape.runs)[:most]
                allowed = max(0.05, LONGEST_SHARE * seconds)
                timings[index] = time_shape(wanted, shape.operations, executor.settings.vmap, where, allowed)
        labels = RunLabels(one_of_each(specs))
        costs = tuple(
            _cost(index, shapes, timings, known, expected, where.type, labels.of_group(shape.runs))
            for index, shape in enumerate(shapes)
        )
    finally:
        torch.set_num_threads(threads)
    starts = executor.settings.threads is not None  # the executor without workers has torch's threads
    return CostEstimate(
        costs,
        executor.num_workers,
        executor.description,
        available_memory(),
        driver=planning.total,
        worker=WORKER_START * planning.imports if starts else 0.0,
    )


def _shapes(specs: Sequence[RunSpec], finished: set[str]) -> list[Shape]:
    """Group the runs by shape; parameters and operations are counted once for each."""
    by_shape: dict[str, list[RunSpec]] = {}
    of_sections: dict[tuple[int, ...], list[RunSpec]] = {}  # a shape takes a while, and runs share their sections
    for spec in specs:
        key = (id(spec.task), id(spec.model), id(spec.train))
        if (same := of_sections.get(key)) is None:
            same = of_sections[key] = by_shape.setdefault(spec.shape, [])
        same.append(spec)
    shapes = []
    sources: dict[bytes, Source] = {}
    counted: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    models: dict[bytes, tuple[str, ...]] = {}
    for same in by_shape.values():
        spec = same[0]
        task, model = spec.task.canonical, spec.model.canonical
        source = sources[task] = sources.get(task) or Source(spec.task, spec.seed)
        if (model, task) not in counted:
            built: Model = build_model(
                spec.model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=0
            )
            counted[model, task] = built.parameter_count, flops(built, source)
        missing = [one for one in same if one.id not in finished]
        own = models[model] = models.get(model) or _kind_of_model(spec.model)
        shapes.append(Shape(same, missing, source, *counted[model, task], _kind(spec, source, own)))
    return shapes


def _order(shapes: Sequence[Shape]) -> Iterator[int]:
    """The shapes to time: of each kind the one with the most operations, the one with the fewest, those between.

    Shapes of a kind with about the same operations are timed once.
    """
    kinds: dict[Any, list[int]] = {}
    for index, shape in enumerate(shapes):
        kinds.setdefault(shape.kind, []).append(index)
    turns: dict[int, list[int]] = {}
    for same in kinds.values():
        distinct: list[int] = []
        for index in sorted(same, key=lambda one: -shapes[one].operations):
            if not distinct or shapes[index].operations < (1 - SAME) * shapes[distinct[-1]].operations:
                distinct.append(index)
        distinct[1:] = distinct[:0:-1]  # the most, the fewest, and upwards
        for turn, index in enumerate(distinct):
            turns.setdefault(turn, []).append(index)
    for turn in sorted(turns):
        yield from sorted(turns[turn], key=lambda one: -shapes[one].work)


def _kind_of_model(model: ModelSpec) -> tuple[str, ...]:
    """What the models of a kind have in common."""
    sizes = {name: type(model).model_fields[name].get_default() for name in SIZES}
    same = model.model_copy(update=sizes)
    return same.variant, str(same.position), repr(same)


def _kind(spec: RunSpec, source: Source, model: tuple[str, ...]) -> tuple[Any, ...]:
    """What the shapes of a kind have in common."""
    train = spec.train
    variant = (*model, train.optimizer, train.precision, bool(train.log_diagnostics))
    return (*variant, spec.task.name, source.length, source.vocabulary, train.batch_size)


def _cost(
    index: int,
    shapes: Sequence[Shape],
    timings: Mapping[int, ShapeTiming],
    known: KnownSteps,
    expected: float | None,
    device_type: str,
    summary: str,
) -> ShapeCost:
    """The cost of one shape: its own times, or those of the shapes that have most in common with it."""
    shape = shapes[index]
    timing = timings.get(index)
    if timing is None:
        agreement = {one: _common(shape.kind, shapes[one].kind) for one in timings}
        closest = max(agreement.values())
        timing = modeled([timings[one] for one, common in agreement.items() if common == closest], shape.operations)
    steps = known.average(shape.missing or shape.runs, expected)
    cost = shape_cost(timing, shape.source, shape.runs, len(shape.missing), steps, device_type, summary)
    memory = WORKER_MEMORY + 4 * timing.state * shape.parameters // max(1, timing.parameters)
    return replace(cost, parameters=shape.parameters, flops=shape.flops, memory=memory, timed=index in timings)


def _common(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    """How many of the first items two kinds have in common."""
    return next((index for index, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), len(one))
