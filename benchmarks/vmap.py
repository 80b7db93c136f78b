"""Tokens per second of K lanes stacked as one program, against the same runs one after the other.

    python -m benchmarks.lanes                          # a GPU at full size; without one, a CPU at a small one
    python -m benchmarks.lanes --device cuda --attn softmax,expressive --lanes 1,8,32
    python -m benchmarks.lanes --json lanes.json        # keep the numbers

A lane's step is forward, backward and AdamW on a batch of its own; batches are drawn before the clock runs. One run
alone takes its steps as written; on a GPU those of lanes are recorded as one launch. Each round times every number of
lanes once beside a single run, so that other work on the machine meets all of them alike; what is printed are medians
over rounds, and ratios of one round. On a CPU it is one thread, as in a worker of a sweep, and the time of the
processor.

The floor is what the step would take if nothing but its arithmetic counted (three times the operations of a forward
pass, at the rate of a large matrix product measured here), and if nothing but its weights did (gradients, moments and
weights read and written once each as the update needs them, at the rate of a large copy measured here). What lies
above both is activations, launches and the interpreter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from attnlab.experiments._budget import flops
from attnlab.model.transformer import build
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec, TrainSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import device as device_of
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper

CLOCK = {"cuda": time.perf_counter, "cpu": time.process_time}
STEPS = {"cuda": 30, "cpu": 3}
"""Steps of one reading of the clock."""
PASSES = 10
"""How often a step reads or writes each weight or a number that belongs to it, at least: the weight in the forward and
the backward pass, its gradient once each way, and in the update weight and moments each way, the gradient again."""


def spec_of(attention: str, seed: int, width: int, tokens: int, batch: int) -> RunSpec:
    """Recall of as many pairs as the tokens hold, over two layers."""
    task = TaskSpec(name="recall", options={"length": tokens, "pairs": 4, "vocabulary": 64}, complexity="pairs")
    model = ModelSpec(layers=2, width=width, heads=2, attention=(Part(name=attention),))
    return RunSpec(task=task, model=model, train=TrainSpec(batch_size=batch), seed=seed)


class Bundle:
    """So many lanes with their batches at hand; one lane is a run by itself."""

    def __init__(self, specs: Sequence[RunSpec], device: torch.device, count: int) -> None:
        sources = [Source(spec.task, spec.seed) for spec in specs]
        self.stepper: Stepper = (
            VmapStepper(specs, sources, device)
            if len(specs) > 1
            else SingleStepper(specs[0], sources[0], device, "never")
        )
        plan = specs[0].train
        self.batches = [{lane: s.training(i, plan.batch_size) for lane, s in enumerate(sources)} for i in range(count)]
        self.clock = CLOCK[device.type]
        self.rates = dict.fromkeys(range(len(specs)), 1e-3)

    def seconds(self) -> float:
        """Seconds of one step."""
        started = self.clock()
        for batches in self.batches:
            self.stepper.step(batches, self.rates)
        self.stepper.losses()  # waits for the device
        return (self.clock() - started) / len(self.batches)


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of some work, the best of several times."""
    spent = []
    for _ in range(6):
        started = CLOCK[device.type]()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(CLOCK[device.type]() - started)
    return min(spent[1:])


def rates(device: torch.device) -> tuple[float, float]:
    """Operations per second of a large matrix product, and bytes per second of a large copy."""
    size = 8192 if device.type == "cuda" else 1024
    square = torch.randn(size, size, device=device)
    long = torch.randn(2**28 if device.type == "cuda" else 2**24, device=device)
    copied = torch.empty_like(long)
    product = timed(lambda: square @ square, device)
    return 2 * size**3 / product, 2 * 4 * len(long) / timed(lambda: copied.copy_(long), device)


def measured(attention: str, counts: Sequence[int], args: argparse.Namespace, device: torch.device) -> list[Any]:
    """One row for each number of lanes."""
    specs = [spec_of(attention, seed, args.width, args.tokens, args.batch) for seed in range(max(counts))]
    bundles = {count: Bundle(specs[:count], device, STEPS[device.type]) for count in sorted({1, *counts})}
    spent: dict[int, list[float]] = {count: [] for count in bundles}
    for group in bundles.values():
        group.seconds()
    for _ in range(args.rounds):
        for count, group in bundles.items():
            spent[count].append(group.seconds())
    source = Source(specs[0].task, 0)
    model = build(specs[0].model, vocabulary=source.vocabulary, length=source.length, seed=0)
    operations, (arithmetic, copying) = 3 * flops(model, source) * args.batch, rates(device)
    rows = []
    for count, times in spent.items():
        ratios = [count * alone / together for alone, together in zip(spent[1], times, strict=True)]
        rows.append(
            {
                "attention": attention,
                "lanes": count,
                "seconds": statistics.median(times),
                "tokens": count * args.batch * args.tokens / statistics.median(times),
                "ratio": statistics.median(ratios),
                "spread": [min(ratios), max(ratios)],
                "operations": count * operations / arithmetic,
                "bytes": count * PASSES * 4 * model.parameter_count / copying,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--attn", default="softmax")
    parser.add_argument("--lanes", help="how many, such as 1,8,32")
    parser.add_argument("--width", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = device_of(args.device)
    large = device.type == "cuda"
    if not large:
        torch.set_num_threads(1)
    for name, there, here in (("width", 64, 32), ("tokens", 64, 32), ("batch", 64, 16)):
        setattr(args, name, getattr(args, name) or (there if large else here))
    counts = [int(word) for word in (args.lanes or ("1,2,4,8,16,32" if large else "1,2,4,8")).split(",")]
    where = torch.cuda.get_device_name(device) if large else "one thread of a CPU; no GPU was used"
    print(f"{where}, torch {torch.__version__}; width {args.width}, {args.tokens} tokens, batch {args.batch} per lane")
    print(f"{'attention':14}{'lanes':>6}{'step':>11}{'tokens/s':>13}  to one run      floor: operations   weights")
    saved = []
    for attention in args.attn.split(","):
        for row in measured(attention, counts, args, device):
            saved.append(row)
            low, high = row["spread"]
            ratio = f"{row['ratio']:5.2f} ({low:.2f}-{high:.2f})"
            step, done, moved = (f"{1000 * row[name]:.3f} ms" for name in ("seconds", "operations", "bytes"))
            print(f"{attention:14}{row['lanes']:6}{step:>11}{row['tokens']:13,.0f}  {ratio:20}{done:>14}{moved:>10}")
    if args.json:
        args.json.write_text(json.dumps(saved, indent=1) + "\n")


if __name__ == "__main__":
    main()
