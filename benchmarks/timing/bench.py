"""All speed measurements of attnlab, section by section; each line is a ratio where there is a baseline."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from attnlab.attention import ATTENTIONS
from attnlab.choices import Precision
from attnlab.specs import RunSpec, TaskSpec, TrainSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import environment
from attnlab.training.precision import has_bf16_products
from attnlab.training.stepper import SingleStepper
from benchmarks.timing.goals import MOST_TIMES_DELTA, MOST_TIMES_SOFTMAX
from benchmarks.timing.growth import AXES, NAMES, Measure, isolated, measure_growth
from benchmarks.timing.isolated import Build, time_isolated
from benchmarks.timing.mixing import LENGTHS, fused
from benchmarks.timing.mixing import ours as mixing
from benchmarks.timing.pairs import ROUNDS, Measured, Program, Seconds, ratio, summarize
from benchmarks.timing.result import Benchmark
from benchmarks.timing.startup import memory, starting
from benchmarks.timing.textbook import LEARNING_RATE, Shape, hand_written, ours, vmapped, x_transformers
from benchmarks.timing.throughput import eight_runs
from benchmarks.timing.zoology_baseline import every_position, row_by_row


class Timer(Protocol):
    """Times programs, round by round."""

    def __call__(self, builds: Mapping[str, Build], *, times: int = 1) -> Seconds:
        """Seconds of each program, which runs ``times`` times in each of its turns."""


TEXTBOOK = Shape()
WIDE = Shape(width=128, length=128)
RECALL = Shape(vocabulary=8192, batch=256)
RECALL_TASK = TaskSpec(name="recall", options={"vocabulary": 8192, "length": 64, "pairs": 4})
PRODUCT, DRAWS, STEPS = 1024, 20, 3
"""Rows of a large matrix; batches drawn, and steps taken, in one turn."""
VMAP = (1, 8, 32)
MAX_VMAP_SLOWDOWN = 1.2
"""Goal for the time of a step of eight vmapped runs over that of one."""
MAX_LINEAR_EXPONENT = 1.3
"""Exponent in the length below which a cost counts as linear."""


def measure_all(device: torch.device, rounds: int = ROUNDS, peers: bool = False, long: bool = False) -> Benchmark:
    """Measure everything, each program in a process of its own; on one thread of a CPU by processor time.

    Args:
        device: Where the steps are taken.
        rounds: Interleaved rounds of each comparison.
        peers: Whether to time other libraries that are installed.
        long: Whether to measure a sweep of eight runs, and how costs grow.

    Returns:
        The measurements, and what was left out.
    """
    lines: list[Measured] = []
    left_out: list[str] = []
    processor = device.type == "cpu" and torch.get_num_threads() == 1
    timer: Timer = partial(time_isolated, rounds=rounds, processor=processor, device=device)
    measured, missing = textbook(device, timer, peers)
    lines += measured
    left_out += missing
    lines += matmul_share(device, timer)
    lines += recall(device, timer)
    lines += variants(device, timer)
    lines += mixings(device, timer)
    if device.type == "cpu" and has_bf16_products():
        lines += half_precision(device, timer)
    elif device.type == "cpu":
        left_out.append("This processor has no instructions for bf16.")
    if device.type == "cpu":
        lines += [memory(), *starting(rounds)]
        left_out.append("Vmapped runs and compiled steps are measured on a GPU only.")
    else:
        lines += vmap(device, timer)
    if long:
        lines += [eight_runs(rounds, targets=targets) for targets in ("every", "few")] if device.type == "cpu" else []
        lines += growth(isolated(device))
    else:
        left_out.append("A sweep of eight runs, and how costs grow, are measured with --long.")
    data = {**environment(device), "clock": "processor" if processor else "wall"}
    return Benchmark(lines, data, left_out)


def textbook(device: torch.device, timer: Timer, peers: bool) -> tuple[list[Measured], list[str]]:
    """Time the textbook shape against a hand-written loop and other libraries; name those that are not installed."""
    builds: dict[str, Build] = {
        "ours": partial(ours, TEXTBOOK, device),
        "hand-written loop, fused attention": partial(hand_written, TEXTBOOK, device),
    }
    missing = []
    if peers and importlib.util.find_spec("x_transformers") is None:
        missing.append("x-transformers is not installed: pip install x-transformers.")
    elif peers:
        builds["x-transformers"] = partial(x_transformers, TEXTBOOK, device, False)
        builds["x-transformers, fused"] = partial(x_transformers, TEXTBOOK, device, True)
    seconds = timer(builds, times=STEPS)
    goals = {"hand-written loop, fused attention": 1.0, "x-transformers": 1.5}
    lines = [
        ratio(f"{name} / ours", seconds[name], seconds["ours"], goal=goals.get(name))
        for name in builds
        if name != "ours"
    ]
    return lines, missing


def matmul_share(device: torch.device, timer: Timer) -> Iterator[Measured]:
    """Measure how much of a step of width 128 its matrix products would take at the rate of one large product."""
    products = 8
    builds: dict[str, Build] = {
        "ours": partial(ours, WIDE, device),
        "hand-written": partial(hand_written, WIDE, device),
        "product": partial(product, PRODUCT, products, device),
    }
    seconds = timer(builds, times=STEPS)
    bound = [spent / (products * 2 * PRODUCT**3) * WIDE.operations for spent in seconds["product"]]
    yield ratio("matrix products alone / ours, width 128, T 128", bound, seconds["ours"], goal=0.72)
    yield ratio("matrix products alone / hand-written loop, the same", bound, seconds["hand-written"])


def product(size: int, times: int, device: torch.device) -> Program:
    """Make a program of products of two large matrices."""
    left, right = (torch.randn(size, size, device=device) for _ in range(2))

    def run() -> None:
        for _ in range(times):
            left @ right

    return run


def recall(device: torch.device, timer: Timer) -> Iterator[Measured]:
    """Time multi-query recall over 8192 ids, a new batch for every step, against the published way."""
    builds: dict[str, Build] = {
        "every": partial(every_position, RECALL, device),
        "ours": partial(step_and_batch, device),
    }
    seconds = timer(builds, times=STEPS)
    note = "V 8192, T 64, 4 pairs, batch 256, drawing included"
    yield ratio("every position, rows one by one / ours", seconds["every"], seconds["ours"], goal=8.0, note=note)
    drawing = timer({"rows": rows_program, "ours": partial(batches_program, DRAWS)})
    yield ratio("drawing rows one by one / ours", drawing["rows"], drawing["ours"], factor=DRAWS, goal=100.0)
    share = [draw / DRAWS / (step / STEPS) for draw, step in zip(drawing["ours"], seconds["ours"], strict=True)]
    yield summarize("share of a step that draws its batch", share, goal=0.02, below=True, unit="")


def step_and_batch(device: torch.device) -> Program:
    """Make a program that draws a batch of recall and takes a step of ours."""
    source, steps = Source(RECALL_TASK, 0), itertools.count()
    spec = RunSpec(task=RECALL_TASK, model=RECALL.spec().model, train=TrainSpec(batch_size=RECALL.batch))
    stepper = SingleStepper(spec, source, device, "never")
    return lambda: stepper.step({0: source.training(next(steps), RECALL.batch)}, {0: LEARNING_RATE})


def batches_program(times: int) -> Program:
    """Make a program that draws batches of recall."""
    source, steps = Source(RECALL_TASK, 0), itertools.count()

    def run() -> None:
        for _ in range(times):
            source.training(next(steps), RECALL.batch)

    return run


def rows_program() -> Program:
    """Make a program that draws a batch of recall row by row."""
    random = np.random.RandomState(0)
    return lambda: row_by_row(random, RECALL.vocabulary, RECALL.length, RECALL.batch)


def variants(device: torch.device, timer: Timer) -> Iterator[Measured]:
    """Time steps of other attentions over those of softmax or of delta, at the textbook shape."""
    names = "softmax", *MOST_TIMES_SOFTMAX, *MOST_TIMES_DELTA
    builds = {name: partial(ours, TEXTBOOK, device, attention=name) for name in names}
    seconds = timer(builds)
    for name, goal in MOST_TIMES_SOFTMAX.items():
        yield times(f"step, {name} / softmax", seconds[name], seconds["softmax"], goal)
    for name, most in MOST_TIMES_DELTA.items():
        yield times(f"step, {name} / delta", seconds[name], seconds["delta"], most)


def mixings(device: torch.device, timer: Timer) -> Iterator[Measured]:
    """Time the mixing of expressive attention and of softmax, forward and backward, over torch's fused softmax."""
    for length, goal in zip(LENGTHS, (0.8, 1.0, 1.0, 1.15), strict=True):
        builds: dict[str, Build] = {
            "fused": partial(fused, length, device),
            "expressive": partial(mixing, "expressive", length, device),
            "softmax": partial(mixing, "softmax", length, device),
        }
        if length <= 1024:  # a bias has a number for each pair of tokens
            builds["softmax with kerple"] = partial(mixing, "softmax", length, device, "kerple")
        seconds = timer(builds, times=STEPS)
        for name in (one for one in builds if one != "fused"):
            most = goal if name == "expressive" else None
            yield times(f"mixing, {name} / fused softmax, T {length}", seconds[name], seconds["fused"], most)


def half_precision(device: torch.device, timer: Timer) -> Iterator[Measured]:
    """Measure steps per second in bf16 over those in float32."""
    for width, goal in ((64, 1.4), (128, 1.75)):
        shape = replace(TEXTBOOK, width=width)
        precisions: tuple[Precision, ...] = ("float32", "bf16")
        seconds = timer({one: partial(ours, shape, device, precision=one) for one in precisions}, times=STEPS)
        yield ratio(f"steps/s, bf16 / float32, width {width}", seconds["float32"], seconds["bf16"], goal=goal)


def times(name: str, seconds: Sequence[float], baseline: Sequence[float], goal: float | None) -> Measured:
    """Divide our seconds by those of a baseline, round by round; smaller is better."""
    ratios = [own / other for own, other in zip(seconds, baseline, strict=True)]
    return summarize(name, ratios, goal=goal, below=True)


def vmap(device: torch.device, timer: Timer) -> Iterator[Measured]:
    """Measure tokens per second of vmapped runs and of compiled steps over those of one eager run."""
    builds: dict[str, Build] = {
        "single": partial(ours, TEXTBOOK, device),
        "compiled": partial(ours, TEXTBOOK, device, "always"),
    }
    builds |= {f"vmap {count}": partial(vmapped, TEXTBOOK, device, count) for count in VMAP}
    seconds = timer(builds, times=10)
    single = seconds["single"]
    yield ratio("tokens/s, compiled / one eager run", single, seconds["compiled"], goal=3.0)
    for count in VMAP:
        goal = 15.0 if count == 32 else None
        name = f"tokens/s, {count} vmapped / one eager run"
        yield ratio(name, single, seconds[f"vmap {count}"], factor=count, goal=goal)
    slowdown = [eight / one for eight, one in zip(seconds["vmap 8"], seconds["vmap 1"], strict=True)]
    yield summarize("step of 8 vmapped runs / of 1", slowdown, goal=MAX_VMAP_SLOWDOWN, below=True)


def growth(measure: Measure) -> Iterator[Measured]:
    """Measure exponents of time and memory: in the length for several attentions, in the other sizes for softmax."""
    pairs = [(name, "length") for name in NAMES] + [("softmax", axis) for axis in AXES if axis != "length"]
    for name, axis in pairs:
        measured = measure_growth(name, axis, AXES[axis], measure)
        goal = MAX_LINEAR_EXPONENT if axis == "length" and ATTENTIONS.entry(name).cls.chunked_scan else None
        span = f"{measured.sizes[0]}..{measured.sizes[-1]}"
        for cost, word in (("seconds", "time"), ("bytes", "memory")):
            if math.isnan(measured.exponent(cost)):
                continue  # this system does not report memory
            line = f"{name}: {word} of a sequence grows with {axis}^"
            yield summarize(line, [measured.exponent(cost)], goal=goal, below=True, unit="", note=span)
