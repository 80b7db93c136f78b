"""Everything that is measured of the lab's speed, section by section, each line a ratio where a rival can be had."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Protocol

import numpy as np
import torch

from attnlab.attention import ATTENTIONS
from attnlab.specs import RunSpec, TaskSpec, TrainSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import environment
from attnlab.training.stepper import SingleStepper
from benchmarks.timing.growth import AXES, NAMES, Measure, grown, isolated
from benchmarks.timing.isolated import Build, raced
from benchmarks.timing.pairs import ROUNDS, Measured, Program, Seconds, line, ratio
from benchmarks.timing.saved import Benchmark
from benchmarks.timing.start import memory, starting
from benchmarks.timing.textbook import RATE, Shape, by_hand, ours, x_transformers
from benchmarks.timing.textbook import stacked as lanes
from benchmarks.timing.throughput import eight
from benchmarks.timing.zoology_baseline import every_position, row_by_row


class Race(Protocol):
    """Programs to their seconds, round by round."""

    def __call__(self, builds: Mapping[str, Build], *, times: int = 1) -> Seconds:
        """Each program has its turn, so many times over."""


TEXTBOOK = Shape()
WIDE = Shape(width=128, length=128)
RECALL = Shape(vocabulary=8192, batch=256)
RECALL_TASK = TaskSpec(name="recall", options={"vocabulary": 8192, "length": 64, "pairs": 4})
PRODUCT, DRAWS, TURN = 1024, 20, 3
"""Rows of a large matrix; batches drawn, and steps taken, in one turn."""
LANES = (1, 8, 32)
FLAT = 1.2
"""How much longer a step of eight lanes may take than of one, to be called flat."""
STRAIGHT = 1.3
"""Exponent in the length below which a cost is linear and not quadratic."""


def bench(device: torch.device, rounds: int = ROUNDS, peers: bool = False, long: bool = False) -> Benchmark:
    """Measure all of it, every program in a process of its own; on one thread by the time of the processor.

    Args:
        device: Where the steps are taken.
        rounds: Interleaved rounds of each comparison.
        peers: Whether to time the peers that are installed.
        long: Whether to measure a sweep of eight runs, and how costs grow.
    """
    lines: list[Measured] = []
    left_out: list[str] = []
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    race: Race = partial(raced, rounds=rounds, processor=alone, device=device)
    measured, missing = textbook(device, race, peers)
    lines += measured
    left_out += missing
    lines += rate(device, race)
    lines += recall(device, race)
    lines += variants(device, race)
    if device.type == "cpu":
        lines += [memory(), *starting(rounds)]
        left_out.append("VmapWidth and compiled steps are measured on a GPU alone.")
    else:
        lines += stacked(device, race)
    if long:
        lines += [eight(rounds, kind=kind) for kind in ("every", "few")] if device.type == "cpu" else []
        lines += growth(isolated(device))
    else:
        left_out.append("A sweep of eight runs, and how costs grow, are measured with --long.")
    data = {**environment(device), "clock": "processor" if alone else "wall"}
    return Benchmark(lines, data, left_out)


def textbook(device: torch.device, race: Race, peers: bool) -> tuple[list[Measured], list[str]]:
    """The textbook shape against a loop written by hand and against peers, and what was left out."""
    builds: dict[str, Build] = {"ours": partial(ours, TEXTBOOK, device), "hand": partial(by_hand, TEXTBOOK, device)}
    missing = []
    if peers and importlib.util.find_spec("x_transformers") is None:
        missing.append("x-transformers is not installed: pip install x-transformers.")
    elif peers:
        builds["x-transformers"] = partial(x_transformers, TEXTBOOK, device, False)
        builds["x-transformers, fused"] = partial(x_transformers, TEXTBOOK, device, True)
    seconds = race(builds, times=TURN)
    goals = {"hand": 1.0, "x-transformers": 1.3}
    words = {"hand": "a fused loop written by hand"}
    lines = [
        ratio(f"{words.get(name, name)} / ours", seconds[name], seconds["ours"], goal=goals.get(name))
        for name in builds
        if name != "ours"
    ]
    return lines, missing


def rate(device: torch.device, race: Race) -> Iterator[Measured]:
    """The share of the measured rate of one matrix product that a step of width 128 reaches."""
    products = 8
    builds: dict[str, Build] = {
        "ours": partial(ours, WIDE, device),
        "hand": partial(by_hand, WIDE, device),
        "product": partial(product, PRODUCT, products, device),
    }
    seconds = race(builds, times=TURN)
    floor = [taken / (products * 2 * PRODUCT**3) * WIDE.operations for taken in seconds["product"]]
    yield ratio("matmul floor / ours, width 128, T 128", floor, seconds["ours"], goal=0.65)
    yield ratio("matmul floor / hand-written, the same", floor, seconds["hand"])


def product(size: int, times: int, device: torch.device) -> Program:
    """Products of two large matrices."""
    one, other = (torch.randn(size, size, device=device) for _ in range(2))

    def run() -> None:
        for _ in range(times):
            one @ other

    return run


def recall(device: torch.device, race: Race) -> Iterator[Measured]:
    """Multi-query recall over 8192 ids, its batches drawn anew for every step, against the way it was published."""
    builds: dict[str, Build] = {"every": partial(every_position, RECALL, device), "ours": partial(asked_only, device)}
    seconds = race(builds, times=TURN)
    note = "V 8192, T 64, 4 pairs, batch 256, drawing included"
    yield ratio("every position, rows one by one / ours", seconds["every"], seconds["ours"], goal=8.0, note=note)
    drawing = race({"rows": rows, "ours": partial(drawn, DRAWS)})
    yield ratio("drawing rows one by one / ours", drawing["rows"], drawing["ours"], factor=DRAWS, goal=100.0)
    share = [one / DRAWS / (other / TURN) for one, other in zip(drawing["ours"], seconds["ours"], strict=True)]
    yield line("share of a step that draws its batch", share, goal=0.02, below=True, unit="")


def asked_only(device: torch.device) -> Program:
    """A step of ours on recall, its batch drawn."""
    source, taken = Source(RECALL_TASK, 0), itertools.count()
    spec = RunSpec(task=RECALL_TASK, model=RECALL.spec().model, train=TrainSpec(batch_size=RECALL.batch))
    stepper = SingleStepper(spec, source, device, "never")
    return lambda: stepper.step({0: source.training(next(taken), RECALL.batch)}, {0: RATE})


def drawn(times: int) -> Program:
    """Batches of ours."""
    source, taken = Source(RECALL_TASK, 0), itertools.count()

    def run() -> None:
        for _ in range(times):
            source.training(next(taken), RECALL.batch)

    return run


def rows() -> Program:
    """A batch drawn row by row."""
    random = np.random.RandomState(0)
    return lambda: row_by_row(random, RECALL.vocabulary, RECALL.length, RECALL.batch)


def variants(device: torch.device, race: Race) -> Iterator[Measured]:
    """Steps of other attentions over one of softmax, at the textbook shape."""
    names = ("softmax", "expressive", "dape", "linear", "delta")
    seconds = race({name: partial(ours, TEXTBOOK, device, attention=name) for name in names})
    for name in names[1:]:
        yield ratio(f"{name} / softmax", seconds[name], seconds["softmax"])


def stacked(device: torch.device, race: Race) -> Iterator[Measured]:
    """VmapWidth and compiled steps over solo eager ones, in tokens per second."""
    builds: dict[str, Build] = {
        "solo": partial(ours, TEXTBOOK, device),
        "compiled": partial(ours, TEXTBOOK, device, "always"),
    }
    builds |= {f"{count} lanes": partial(lanes, TEXTBOOK, device, count) for count in LANES}
    seconds = race(builds, times=10)
    solo = seconds["solo"]
    yield ratio("tokens/s, compiled / solo eager", solo, seconds["compiled"], goal=3.0)
    for count in LANES:
        goal = 15.0 if count == 32 else None
        yield ratio(f"tokens/s, {count} lanes / solo eager", solo, seconds[f"{count} lanes"], factor=count, goal=goal)
    flat = [several / one for several, one in zip(seconds["8 lanes"], seconds["1 lanes"], strict=True)]
    yield line("step of 8 lanes / of 1", flat, goal=FLAT, below=True)


def growth(measure: Measure) -> Iterator[Measured]:
    """Exponents of time and memory: in the length for several attentions, in the other sizes for softmax."""
    wanted = [(name, "length") for name in NAMES] + [("softmax", axis) for axis in AXES if axis != "length"]
    for name, axis in wanted:
        measured = grown(name, axis, AXES[axis], measure)
        goal = STRAIGHT if axis == "length" and ATTENTIONS.entry(name).cls.chunked_scan else None
        span = f"{measured.sizes[0]}..{measured.sizes[-1]}"
        for cost, words in (("seconds", "time"), ("bytes", "memory")):
            if math.isnan(measured.exponent(cost)):
                continue  # this system does not tell its memory
            named = f"{name}: {words} of a sequence grows with {axis}^"
            yield line(named, [measured.exponent(cost)], goal=goal, below=True, unit="", note=span)
