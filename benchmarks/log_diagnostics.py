"""The cost of logging diagnostics: the time of one logging against that of a step, and its share of a training.

    python -m benchmarks.log_diagnostics                 # softmax and expressive at the default size: a Markdown table

Logging and steps take turns and medians are taken, so that a busy machine slows both. The share is that of all loggings
of a training, at steps 1, 2, 4, ... and the last: 12 of them in 2,000 steps. A training that is solved within about 200
steps has 9 of them, and their share is larger.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

STEPS = 2000
KINDS = (("rank",), ("gradients",), ("attention",), ("rank", "gradients", "attention"))


def measured(name: str, rounds: int, device: str) -> list[str]:
    """Measure one attention: milliseconds per step, loggings over steps, shares of a training."""
    import torch

    from attnlab.specs import ModelSpec, Part, RunSpec
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.streams import Source
    from attnlab.training._log_diagnostics import is_logged_step, num_sequences
    from attnlab.training.stepper import SingleStepper

    spec = RunSpec(task=task_spec(find_ladder("recall"), {}, None), model=ModelSpec(attention=(Part(name=name),)))
    source = Source(spec.task, 0)
    stepper = SingleStepper(spec, source, torch.device(device))
    batch = source.diagnostics_batch(num_sequences(source.task.length))
    data = source.training(0, spec.train.batch_size)

    def timed(program: Callable[[], Any]) -> float:
        start = time.perf_counter()
        program()
        stepper.losses()
        return time.perf_counter() - start

    steps: list[float] = []
    loggings: dict[tuple[str, ...], list[float]] = {kinds: [] for kinds in KINDS}
    for _ in range(rounds + 2):
        for kinds in KINDS:
            steps.append(timed(lambda: stepper.step({0: data}, {0: 1e-3})))
            loggings[kinds].append(timed(lambda kinds=kinds: stepper.diagnostics(0, batch, kinds)))  # type: ignore[misc]
    warm_up = len(KINDS) * 2
    step = median(steps[warm_up:])
    count = sum(map(is_logged_step, range(1, STEPS + 1))) + (not is_logged_step(STEPS))
    ratios = [median(times[2:]) / step for times in loggings.values()]
    shares = [f"{ratio:.1f} ({100 * count * ratio / STEPS:.1f} %)" for ratio in ratios]
    return [f"`{name}`", f"{1000 * step:.0f} ms", *shares]


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["softmax", "expressive"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    columns = ["attention", "step", *("all" if len(kinds) > 1 else kinds[0] for kinds in KINDS)]
    print(f"| {' | '.join(columns)} |")
    print(f"| {' | '.join(['---'] + ['---:'] * (len(columns) - 1))} |")
    for name in args.names:
        print(f"| {' | '.join(measured(name, args.rounds, args.device))} |", flush=True)


if __name__ == "__main__":
    main()
