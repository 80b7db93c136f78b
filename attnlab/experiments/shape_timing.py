"""The times of one shape as values, the model of shapes that were not timed, and what a run costs by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from attnlab.experiments.plan_cost import ShapeCost, StepsEstimate
from attnlab.run_labels import RunLabels, one_of_each
from attnlab.specs import RunSpec
from attnlab.tasks.base import Task
from attnlab.tasks.io.streams import Source

GROWTH = 0.5
"""Exponent of a step's time in its operations, where one shape of the kind was timed: small steps are overhead."""
RECORDING = 0.02
"""Seconds in which a run is recorded: its record, its weights, and the messages of its worker."""


@dataclass(frozen=True)
class ShapeTiming:
    """The times of one shape, in seconds; of vmapped runs, of all of them together."""

    operations: float
    """Operations of a forward pass over one batch."""
    step: float
    drawing: float
    """One batch."""
    setup: float
    """One run."""
    answering: tuple[tuple[int, float], ...]
    """Length of a sequence in tokens, rising, and the time of a token of one run in an evaluation."""
    diagnostics: float
    """One logging of one run."""
    parameters: int
    state: int
    """Bytes of the weights and the optimizer's state."""
    count: int
    """Vmapped runs."""


def modeled(timed: Sequence[ShapeTiming], operations: float) -> ShapeTiming:
    """Model the times of a shape by those of like shapes.

    Between two timed shapes a step is affine in its operations; beyond them it grows with their square root.

    Args:
        timed: The times of like shapes, at least one.
        operations: Operations of a forward pass over one batch of one run.

    Returns:
        The times of the shape whose operations are closest, scaled like its step; set-up and drawing are kept.
    """
    closest = min(timed, key=lambda one: abs(math.log(one.operations / operations)))
    below = [one for one in timed if one.operations <= operations]
    above = [one for one in timed if one.operations >= operations]
    low, high = (max(below, key=_operations), min(above, key=_operations)) if below and above else (closest, closest)
    if low.operations < high.operations:
        position = (operations - low.operations) / (high.operations - low.operations)
        # Vmapped runs share their time: the numbers of both ends are those of one run.
        one_run = low.step / low.count * (1 - position) + high.step / high.count * position
        factor = one_run * closest.count / closest.step
    else:
        factor = (operations / closest.operations) ** GROWTH
    return replace(
        closest,
        operations=operations,
        step=closest.step * factor,
        answering=tuple((length, seconds * factor) for length, seconds in closest.answering),
        diagnostics=closest.diagnostics * factor,
    )


def shape_cost(
    timing: ShapeTiming,
    source: Source,
    same: Sequence[RunSpec],
    missing: int,
    steps: StepsEstimate,
    device_type: str,
    summary: str | None = None,
) -> ShapeCost:
    """Put the times of a shape together to the cost of its runs; parameters, operations and memory are not filled in.

    Args:
        timing: The times of the shape.
        source: The data of one of its runs.
        same: Its runs.
        missing: How many of them have no record.
        steps: The steps that each is expected to take.
        device_type: The type of the device: ``cpu``, ``cuda`` or ``mps``.
        summary: Its label; None makes one of its runs alone.

    Returns:
        The cost.
    """
    train, task, count = same[0].train, source.task, timing.count
    drawing = timing.drawing / count / train.batch_size  # of one sequence at the task's own length
    # Generated answers take a forward pass each.
    answers = max(1, len(source.training(0, 1).query_positions())) if train.rollout else 1

    def answered(sequences: int, length: int) -> float:
        return sequences * (length * _seconds_per_token(timing.answering, length) + drawing * length / task.length)

    def tested(level: Task) -> float:
        splits = 1 + len(level.subtasks())
        return answers * splits * answered(train.test_examples, level.length)

    # On a GPU a thread draws the next batch while this one's step is taken.
    step = timing.step + timing.drawing if device_type == "cpu" else max(timing.step, timing.drawing)
    validation = answered(train.validation_examples, task.length)
    tests = sum(map(tested, (task, *source.other_levels.values())))
    loggings = train.max_steps.bit_length() + 1  # at powers of two, and at the last step
    fixed = timing.setup + RECORDING + tests + loggings * timing.diagnostics
    return ShapeCost(
        summary=RunLabels(one_of_each(same)).of_group(same) if summary is None else summary,
        runs=len(same),
        missing=missing,
        parameters=timing.parameters,
        flops=0,
        step=step,
        fixed=fixed,
        rate=step / count + validation / min(train.eval_every, train.max_steps),
        max_steps=train.max_steps,
        steps=steps,
        memory=timing.state,
        vmap=count,
    )


def _operations(timing: ShapeTiming) -> float:
    return timing.operations


def _seconds_per_token(answering: Sequence[tuple[int, float]], length: int) -> float:
    """Interpolate the time of a token: where all pairs are scored it is affine in the length.

    >>> _seconds_per_token(((10, 1.0), (30, 2.0)), 20), _seconds_per_token(((10, 1.0),), 20)
    (1.5, 1.0)
    """
    (short, least), (long, most) = answering[0], answering[-1]
    slope = (most - least) / (long - short) if long > short else 0.0
    return max(min(least, most), least + slope * (length - short))
