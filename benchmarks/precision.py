"""What steps in bf16 gain and cost: speed, gradients, and the steps until a task is solved.

    python -m benchmarks.precision                 # speed and gradients, a minute
    python -m benchmarks.precision --solve         # steps to solve recall, copy, parity and delay, five seeds: long

Speed is steps per second of bf16 over float32, in processor time of one thread, interleaved, the median of the rounds,
on recall as shipped. Gradients are those of the first step of recall over 256 tokens that are nearly all zeros: the
distance from float32's, relative to it, of each row of each weight; alone and stacked. Steps to solve are those after
which a run stops early, at 99.8 %; a run that does not solve counts with its whole budget.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch

from attnlab.choices import Precision
from attnlab.experiments.plan import plan
from attnlab.experiments.request import parse_request
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper, batch_to_device
from attnlab.training.vmap_stepper import VmapStepper

CPU = torch.device("cpu")
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")
MOSTLY_ZEROS = TaskSpec(name="recall", options={"length": 256, "vocabulary": 64, "pairs": 4, "filler": "zeros"})
SOLVED = (("recall", None), ("copy", 16), ("parity", 4), ("delay", 5))
"""Tasks and levels that the default model solves within the default budget."""


def runs(task: str, level: int | None, precision: Precision, width: int = 64, seeds: int = 1) -> list[RunSpec]:
    """Runs of softmax attention."""
    settings = {"model": {"width": width}, "train": {"precision": precision}}
    return plan(parse_request(task, "softmax", complexity=level, seeds=range(seeds), settings=settings))


def speed(width: int, rounds: int, steps: int = 10) -> tuple[float, float]:
    """Milliseconds of a step in float32, and the median ratio of float32's time to that of bf16."""
    steppers = []
    for precision in PRECISIONS:
        (spec,) = runs("recall", None, precision, width)
        source = Source(spec.task, spec.seed)
        steppers.append(SingleStepper(spec, source, CPU))
        batches = [source.training(index, spec.train.batch_size) for index in range(steps)]
    times: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for stepper, own in zip(steppers, times, strict=True):
            start = time.process_time()
            for batch in batches:
                stepper.step({0: batch}, {0: 1e-3})
            own.append((time.process_time() - start) / steps)
    exact, rounded = (own[1:] for own in times)
    return 1e3 * statistics.median(exact), statistics.median(a / b for a, b in zip(exact, rounded, strict=True))


def gradients(precision: Precision, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    """The gradients of the first step: of a run alone, and of the same run stacked."""
    (spec,) = runs("recall", None, precision)
    spec = spec.model_copy(update={"task": MOSTLY_ZEROS})
    source = Source(spec.task, spec.seed)
    batch = source.training(0, batch_size)
    alone = SingleStepper(spec, source, CPU)
    _, *found = alone._gradients_of(*batch_to_device(batch, CPU))
    yield {name: grad for name, grad in zip(alone.optimizer.weights, found, strict=True) if grad is not None}
    stacked = VmapStepper([spec], [source], CPU)
    _, *found = stacked._gradients_of([0], [1], *stacked._to_device([batch]))
    yield {name: grad[0] for name, grad in zip(stacked.optimizer.leaves, found, strict=True) if grad is not None}


def deviations(batch_size: int) -> Iterator[tuple[str, float, float]]:
    """Alone or stacked; the largest median over rows of a weight; the largest of a single row."""
    exact = next(gradients("float32", batch_size))
    for name, rounded in zip(("alone", "stacked"), gradients("bf16", batch_size), strict=True):
        shares = []
        for key, grad in exact.items():
            rows = (1, -1) if grad.ndim == 1 else (len(grad), -1)
            error, size = (one.reshape(rows).norm(dim=1) for one in (rounded[key] - grad, grad))
            shares.append(error[size > 0] / size[size > 0])
        yield name, max(float(one.median()) for one in shares), max(float(one.max()) for one in shares)


def steps_to_solve(task: str, level: int | None, seeds: int) -> Iterator[list[int]]:
    """The steps of each seed, in float32 and in bf16."""
    for precision in PRECISIONS:
        records = (train_runs([spec])[0] for spec in runs(task, level, precision, seeds=seeds))
        yield [record.steps for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps in bf16 against steps in float32.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the speed")
    parser.add_argument("--batch", type=int, default=256, help="sequences of the gradients")
    parser.add_argument("--solve", action="store_true", help="also the steps until tasks are solved")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the steps to solve")
    parser.add_argument("--tasks", default="recall,copy,parity,delay", help="tasks of the steps to solve")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| width | float32, ms a step | bf16 / float32, steps per second | goal |\n|---|---|---|---|")
    for width, goal in ((64, 1.4), (128, 1.75)):
        milliseconds, ratio = speed(width, args.rounds)
        print(f"| {width} | {milliseconds:.1f} | {ratio:.2f} | {goal} |", flush=True)
    print("\n| gradients | median row | worst row | goal |\n|---|---|---|---|")
    for name, median, worst in deviations(args.batch):
        print(f"| {name} | {median:.2%} | {worst:.2%} | 2 %, 5 % |", flush=True)
    if args.solve:
        print("\n| task | float32, steps | bf16, steps | medians, bf16 / float32 | goal |\n|---|---|---|---|---|")
        for task, level in (one for one in SOLVED if one[0] in args.tasks.split(",")):
            exact, rounded = steps_to_solve(task, level, args.seeds)
            ratio = statistics.median(rounded) / statistics.median(exact)
            cells = (", ".join(map(str, own)) for own in (exact, rounded))
            print(f"| {task} {level or ''} | {' | '.join(cells)} | {ratio:.2f} | 0.95-1.05 |", flush=True)


if __name__ == "__main__":
    main()
