"""Tokens per second of K runs trained as one vmapped program, against the same runs one after the other.

    python -m benchmarks.vmap                          # a GPU at full size; without one, a CPU at a small size
    python -m benchmarks.vmap --device cuda --attn softmax,expressive --vmap 1,8,32
    python -m benchmarks.vmap --json vmap.json         # write the numbers to a file

The step of a run is forward, backward and AdamW on a batch of its own; batches are drawn before the clock starts. A
single run takes eager steps; on a GPU the steps of vmapped runs are CUDA graphs. Each round times every number of runs
once beside a single run, so that other load slows all of them alike. The script prints medians over rounds, and ratios
of one round. On a CPU it uses one thread, as a worker of a sweep does, and processor time.

There are two lower bounds of a step: the time of its arithmetic alone (three times the operations of a forward pass, at
the rate of a large matrix product measured here), and the time of its weights alone (gradients, moments and weights are
read and written once each, at the rate of a large copy measured here). The rest of a step is activations, kernel
launches and the interpreter.
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
"""Steps between two readings of the clock."""
PASSES = 10
"""How often a step reads or writes each weight or a number that belongs to it, at least: the weight in the forward and
the backward pass, its gradient once each way, and in the update weight and moments each way, the gradient again."""


def spec_of(attention: str, seed: int, width: int, tokens: int, batch: int) -> RunSpec:
    """Make a run of recall with four pairs and two layers."""
    task = TaskSpec(name="recall", options={"length": tokens, "pairs": 4, "vocabulary": 64}, complexity="pairs")
    model = ModelSpec(layers=2, width=width, heads=2, attention=(Part(name=attention),))
    return RunSpec(task=task, model=model, train=TrainSpec(batch_size=batch), seed=seed)


class TimedGroup:
    """Runs that train as one vmapped program, with their batches; a single run trains without vmap."""

    def __init__(self, specs: Sequence[RunSpec], device: torch.device, count: int) -> None:
        sources = [Source(spec.task, spec.seed) for spec in specs]
        self.stepper: Stepper = (
            VmapStepper(specs, sources, device)
            if len(specs) > 1
            else SingleStepper(specs[0], sources[0], device, "never")
        )
        plan = specs[0].train
        self.batches = [{run: s.training(i, plan.batch_size) for run, s in enumerate(sources)} for i in range(count)]
        self.clock = CLOCK[device.type]
        self.rates = dict.fromkeys(range(len(specs)), 1e-3)

    def seconds(self) -> float:
        """Measure the seconds of one step."""
        start = self.clock()
        for batches in self.batches:
            self.stepper.step(batches, self.rates)
        self.stepper.losses()  # waits for the device
        return (self.clock() - start) / len(self.batches)


def timed(program: Callable[[], Any], device: torch.device) -> float:
    """Measure the seconds of a program, the lowest of several."""
    spent = []
    for _ in range(6):
        start = CLOCK[device.type]()
        program()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(CLOCK[device.type]() - start)
    return min(spent[1:])


def rates(device: torch.device) -> tuple[float, float]:
    """Measure the operations per second of a large matrix product, and the bytes per second of a large copy."""
    size = 8192 if device.type == "cuda" else 1024
    square = torch.randn(size, size, device=device)
    long = torch.randn(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(long)
    product = timed(lambda: square @ square, device)
    return 2 * size**3 / product, 2 * 4 * len(long) / timed(lambda: target.copy_(long), device)


def measured(attention: str, counts: Sequence[int], args: argparse.Namespace, device: torch.device) -> list[Any]:
    """Measure one attention: a row for each number of runs."""
    specs = [spec_of(attention, seed, args.width, args.tokens, args.batch) for seed in range(max(counts))]
    timed_groups = {count: TimedGroup(specs[:count], device, STEPS[device.type]) for count in sorted({1, *counts})}
    spent: dict[int, list[float]] = {count: [] for count in timed_groups}
    for group in timed_groups.values():
        group.seconds()
    for _ in range(args.rounds):
        for count, group in timed_groups.items():
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
                "vmap": count,
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
    parser.add_argument("--vmap", help="numbers of runs, such as 1,8,32")
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
    for name, gpu, cpu in (("width", 64, 32), ("tokens", 64, 32), ("batch", 64, 16)):
        setattr(args, name, getattr(args, name) or (gpu if large else cpu))
    counts = [int(word) for word in (args.vmap or ("1,2,4,8,16,32" if large else "1,2,4,8")).split(",")]
    machine = torch.cuda.get_device_name(device) if large else "one thread of a CPU; no GPU was used"
    print(f"{machine}, torch {torch.__version__}; width {args.width}, {args.tokens} tokens, batch {args.batch} per run")
    print(f"{'attention':14}{'vmap':>6}{'step':>11}{'tokens/s':>13}  to one run      bound: operations   weights")
    rows = []
    for attention in args.attn.split(","):
        for row in measured(attention, counts, args, device):
            rows.append(row)
            low, high = row["spread"]
            ratio = f"{row['ratio']:5.2f} ({low:.2f}-{high:.2f})"
            step, arithmetic, weights = (f"{1000 * row[name]:.3f} ms" for name in ("seconds", "operations", "bytes"))
            line = f"{attention:14}{row['vmap']:6}{step:>11}{row['tokens']:13,.0f}  {ratio:20}"
            print(f"{line}{arithmetic:>14}{weights:>10}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
