"""What a plan costs: parameters, operations, memory and wall time, from a few real steps of each shape.

Runs of one shape take the same time per step, so each shape is built once, warmed up, and timed over a few steps, on
as many threads and with as many lanes as the workers will have. A run that is solved stops sooner: the upper estimate
counts all steps; the lower one takes the share of steps that runs of the same task took in this store, or else what
the experiment says.
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
from attnlab.experiments._estimate import CostEstimate, ShapeCost
from attnlab.experiments.run_sweep import vmap_per_worker
from attnlab.model.transformer import build
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import device
from attnlab.training.run import make_stepper, vmap_count
from attnlab.training.vmap_width import VmapWidth

WARM, TIMED = 2, 5
"""Steps before and while the clock runs."""
LOOKS = 0.34
"""Time of a sequence that is only answered, a forward pass alone, as a share of one that is trained on."""


def estimate_cost(
    specs: Sequence[RunSpec], store: Path, executor: Executor, expected: float | None = None
) -> CostEstimate:
    """The cost of a plan, by a few real steps of each shape.

    Args:
        specs: The plan.
        store: Where finished runs would be taken from.
        executor: What would work through it.
        expected: Share of its steps that a run is thought to take where the store does not say.
    """
    saved = {record.id: record for record in Store(store).records() if record.status != "failed"}
    taken: dict[str, list[float]] = {}
    for record in saved.values():
        taken.setdefault(kind(record.spec), []).append(record.steps / record.spec.train.max_steps)
    by_shape: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_shape.setdefault(spec.shape, []).append(spec)
    runs = vmap_per_worker(executor, sum(spec.id not in saved for spec in specs))
    threads, where = torch.get_num_threads(), device(executor.settings.device)
    if executor.settings.threads:
        torch.set_num_threads(executor.settings.threads)
    try:
        shapes = [
            _shape(
                same,
                [spec for spec in same if spec.id not in saved],
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
    """Runs whose share of steps is likely to be alike: one task, level and variant."""
    return f"{spec.task.name} {spec.task.level} {spec.variant} {spec.model.position}"


def shares(same: Sequence[RunSpec], taken: Mapping[str, Sequence[float]], expected: float | None) -> float:
    """Share of its steps that a run of a shape is thought to take."""
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
        {lane: one.training(step, spec.train.batch_size) for lane, one in enumerate(sources)}
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
    looks = spec.train.max_steps // spec.train.eval_every * spec.train.validation_examples + spec.train.test_examples
    tokens = spec.train.batch_size * batches[-1][0].inputs_BT.shape[1]
    others = sum(task.length for task in source.other_levels.values()) * spec.train.test_examples
    answered = (looks * source.task.length + others) / tokens
    seconds = step / count * (spec.train.max_steps + LOOKS * answered)
    words = " · ".join(spec.summary.split(" · ")[:-1])
    size = sum(array.nbytes for array in stepper.state().values())
    model = build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
    memory, operations = WORKER_MEMORY + 4 * size, flops(model, source)
    runs = len(same), len(missing)
    return ShapeCost(words, *runs, stepper.parameters, operations, step, seconds, share, memory, count)
