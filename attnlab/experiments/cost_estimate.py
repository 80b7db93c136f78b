"""The cost of a plan, estimated from a few real steps of each shape.

Runs of one shape take the same time per step. Each shape is built once, warmed up and timed over a few steps, with as
many threads and vmapped runs as the workers will have. A run that is solved stops early: the upper estimate counts all
steps. The lower one counts the share of steps that runs of the same task took in this store, or the share that the
experiment expects.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from attnlab.execution.jobs import Executor
from attnlab.execution.memory import available_memory
from attnlab.execution.processes import WORKER_MEMORY
from attnlab.experiments._budget import flops
from attnlab.experiments.grouping import vmap_per_worker
from attnlab.experiments.plan_cost import CostEstimate, ShapeCost
from attnlab.model.transformer import build_model
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import device
from attnlab.training.run import make_stepper, vmap_count
from attnlab.training.vmap_width import VmapWidth

WARM, TIMED = 2, 5
"""Steps before the timing begins, and timed steps."""
FORWARD = 0.34
"""Time of one sequence in evaluation (a forward pass alone), as a share of its time in training."""


def estimate_cost(
    specs: Sequence[RunSpec], store: Path, executor: Executor, expected: float | None = None
) -> CostEstimate:
    """Estimate the cost of a plan by taking a few steps of each shape.

    Args:
        specs: The plan.
        store: The store whose finished runs are not run again.
        executor: The executor that would run it.
        expected: Expected share of its steps that a run takes, where the store has no such run; None expects all.

    Returns:
        The cost of each shape, and of all.

    Raises:
        DeviceError: This machine does not have the executor's device.
        StoreError: The store cannot be read.
    """
    finished = {record.id: record for record in Store(store).records() if record.status != "failed"}
    taken: dict[str, list[float]] = {}
    for record in finished.values():
        taken.setdefault(kind(record.spec), []).append(record.steps / record.spec.train.max_steps)
    by_shape: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_shape.setdefault(spec.shape, []).append(spec)
    runs = vmap_per_worker(executor, sum(spec.id not in finished for spec in specs))
    threads, where = torch.get_num_threads(), device(executor.settings.device)
    if executor.settings.threads:
        torch.set_num_threads(executor.settings.threads)
    try:
        shapes = [
            _shape(
                same,
                [spec for spec in same if spec.id not in finished],
                runs,
                executor.settings.vmap,
                shares(same, taken, expected),
                where,
            )
            for same in by_shape.values()
        ]
    finally:
        torch.set_num_threads(threads)
    return CostEstimate(tuple(shapes), executor.num_workers, executor.description, available_memory())


def kind(spec: RunSpec) -> str:
    """Name a kind of runs that take a similar share of their steps: one task, level and variant.

    Args:
        spec: A run.

    Returns:
        The kind, as words.
    """
    return f"{spec.task.name} {spec.task.level} {spec.variant} {spec.model.position}"


def shares(same: Sequence[RunSpec], taken: Mapping[str, Sequence[float]], expected: float | None) -> float:
    """Estimate the share of its steps that a run of a shape takes.

    Args:
        same: Runs of one shape.
        taken: Kind of runs -> the shares that finished runs took.
        expected: The share where no such run is finished; None expects all steps.

    Returns:
        The share, from 0 to 1.
    """
    known = taken.get(kind(same[0]))
    return statistics.mean(known) if known else 1.0 if expected is None else expected


def _shape(
    same: Sequence[RunSpec], missing: Sequence[RunSpec], most: int, wish: VmapWidth, share: float, where: torch.device
) -> ShapeCost:
    together = (missing or same)[:most]
    together = together[: vmap_count(together, where, wish)]
    spec, count = together[0], len(together)
    sources = [Source(one.task, one.seed, one.train.train_examples) for one in together]
    stepper, source = make_stepper(together, sources, where), sources[0]
    batches = [
        {index: one.training(step, spec.train.batch_size) for index, one in enumerate(sources)}
        for step in range(WARM + TIMED)
    ]
    spent = []
    for drawn in batches:
        started = time.perf_counter()
        stepper.step(drawn, dict.fromkeys(drawn, 1e-6))
        stepper.losses()  # waits for the device
        spent.append(time.perf_counter() - started)
    step = statistics.median(spent[WARM:])
    began = time.perf_counter()
    source.training(0, spec.train.batch_size)
    drawing = count * (time.perf_counter() - began)
    # JointCell a GPU a thread draws the next batch while this one's step is taken.
    step = step + drawing if where.type == "cpu" else max(step, drawing)
    evaluated = (
        spec.train.max_steps // spec.train.eval_every * spec.train.validation_examples + spec.train.test_examples
    )
    tokens = spec.train.batch_size * batches[-1][0].inputs_BT.shape[1]
    others = sum(task.length for task in source.other_levels.values()) * spec.train.test_examples
    answered = (evaluated * source.task.length + others) / tokens
    seconds = step / count * (spec.train.max_steps + FORWARD * answered)
    summary = " · ".join(spec.summary.split(" · ")[:-1])
    size = count * sum(array.nbytes for array in stepper.state(0).values())
    model = build_model(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
    memory, operations = WORKER_MEMORY + 4 * size, flops(model, source)
    runs = len(same), len(missing)
    return ShapeCost(summary, *runs, stepper.parameters, operations, step, seconds, share, memory, count)
