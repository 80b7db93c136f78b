"""What a few real steps and evaluations of one shape tell of the time of its runs.

    step        forward, backward, optimizer and loss of one batch, or of fewer sequences where a batch takes too long
    drawing     the batch itself
    answering   a token of an evaluation, at the run's own length and at the longest that is evaluated
    set-up      data, model and optimizer of a run

A CPU's time is processor time, which other programs hardly lengthen, unless several threads share the work. Shapes that
are not timed are modeled by those that are: :mod:`attnlab.experiments.shape_timing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from attnlab.experiments.shape_timing import ShapeTiming
from attnlab.specs import RunSpec
from attnlab.tasks.base import Batch, Split, Task
from attnlab.tasks.io.buckets import batch_rows
from attnlab.tasks.io.streams import Source
from attnlab.training.loop import diagnostics_batch
from attnlab.training.run import make_stepper, vmap_count
from attnlab.training.stepper import Stepper
from attnlab.training.vmap_width import VmapWidth

FEW = 2
"""Sequences of the first, small steps, which warm up and tell whether a whole batch would take too long."""
STEPS = 2
"""Timed steps at most, of which the fastest counts: nothing makes a step too fast."""
DRAWN = 64
"""Steps of which one of about the mean length is timed, where lengths are drawn."""
EVALUATED_TOKENS, EVALUATIONS = 2048, 2
"""Tokens of a timed evaluation, or one sequence; how often it is timed."""


def time_shape(
    specs: Sequence[RunSpec], operations: float, wish: VmapWidth, where: torch.device, seconds: float
) -> ShapeTiming:
    """Time a few steps and evaluations of one shape.

    Args:
        specs: Runs of the shape, as many as are vmapped at most.
        operations: Operations of a forward pass over one batch of one run.
        wish: The user's choice of vmapped runs.
        where: The device.
        seconds: About how long the steps may take; where a batch takes longer, fewer sequences are timed.

    Returns:
        The times.

    Raises:
        InvalidValueError: Vmapped runs are asked for, and the variant cannot be vmapped.
    """
    together = specs[: vmap_count(specs, where, wish)]
    spec, clock = together[0], clock_of(where)
    count, batch = len(together), spec.train.batch_size
    start = clock()
    sources = [Source(one.task, one.seed, one.train.train_examples, one.train.max_steps) for one in together]
    stepper, source = make_stepper(together, sources, where), sources[0]
    _draw(sources, 0, FEW)
    setup = clock() - start

    def step(sequences: int, index: int) -> tuple[float, float]:
        start = clock()
        drawn = _draw(sources, index, sequences)
        ready = clock()
        stepper.step(drawn, dict.fromkeys(drawn, 1e-6))
        stepper.losses()  # waits for the device
        return ready - start, clock() - ready

    typical = typical_step(source)
    step(FEW, typical)
    few = step(FEW, typical)[1]
    # A step takes at most the time of a small one for each of its sequences.
    sequences = max(min(batch, FEW + 1), int(min(batch, FEW * seconds / max(few, 1e-9))))
    end = clock() + seconds
    timed: list[tuple[float, float]] = []
    while len(timed) < STEPS and (not timed or clock() < end):
        timed.append(step(sequences, typical))
    drawing, once = (min(column) for column in zip(*timed, strict=True))
    # The time of a step is affine in its sequences.
    step_time = once + max(0.0, once - few) * (batch - sequences) / max(1, sequences - FEW)
    answering = {task.length: task for task in (source.task, *source.other_levels.values())}
    ends = sorted({source.task.length, max(answering)})
    return ShapeTiming(
        operations=operations,
        step=step_time,
        drawing=drawing * batch / sequences,
        setup=setup / count,
        answering=tuple((length, _token(stepper, source, answering[length], spec, clock)) for length in ends),
        diagnostics=_diagnostics(stepper, source, spec, clock),
        parameters=stepper.parameters,
        state=count * sum(array.nbytes for array in stepper.state(0).values()),
        count=count,
    )


def typical_step(source: Source) -> int:
    """Find a training step whose sequences have about the mean length, where each batch draws a length of its own.

    Args:
        source: The data of a run.

    Returns:
        Index of the step.
    """
    if not source.ranges:
        return 0
    spread = source.steps // DRAWN if source.steps and source.changes else 1  # a curriculum is looked at as a whole
    steps = [index * max(1, spread) for index in range(DRAWN)]
    lengths = {step: source.training(step, 1).inputs_BT.shape[1] for step in steps}
    mean = sum(lengths.values()) / DRAWN
    return min(steps, key=lambda step: abs(lengths[step] - mean))


def clock_of(where: torch.device) -> Callable[[], float]:
    """Choose the clock of steps: other programs do not lengthen processor time, but threads of one run do.

    Args:
        where: Where steps are taken.

    Returns:
        Processor time on a CPU where one thread does all the work, and wall time otherwise; in seconds.
    """
    alone = where.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _draw(sources: Sequence[Source], step: int, sequences: int) -> dict[int, Batch]:
    return {index: source.training(step, sequences) for index, source in enumerate(sources)}


def _token(stepper: Stepper, source: Source, task: Task, spec: RunSpec, clock: Callable[[], float]) -> float:
    """Time a token of one run in an evaluation of a task."""
    rows = max(1, min(batch_rows(spec.train.batch_size, task.length), EVALUATED_TOKENS // task.length))
    batch = next(source.iter_held_out(Split.VALIDATION, rows, rows, task))
    runs = {0: [batch]}
    spent = []
    for _ in range(EVALUATIONS):
        start = clock()
        stepper.predict_each(runs)
        spent.append(clock() - start)
    return min(spent) / batch.inputs_BT.size


def _diagnostics(stepper: Stepper, source: Source, spec: RunSpec, clock: Callable[[], float]) -> float:
    """Time one logging of diagnostics of one run; 0 if it logs none."""
    if not spec.train.log_diagnostics:
        return 0.0
    batch = diagnostics_batch(source)
    start = clock()
    stepper.diagnostics(0, batch, spec.train.log_diagnostics)
    return clock() - start
