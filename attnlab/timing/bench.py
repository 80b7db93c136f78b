"""Everything that is measured of the lab's speed, section by section, each line a ratio where a rival can be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch

from attnlab.attention import ATTENTIONS
from attnlab.spec import RunSpec, TaskSpec, TrainSpec
from attnlab.tasks import Batch
from attnlab.tasks.streams import Source
from attnlab.timing.eight import eight
from attnlab.timing.every import every_position, row_by_row
from attnlab.timing.growth import AXES, NAMES, Measure, apart, grown
from attnlab.timing.pairs import ROUNDS, Measured, Program, Seconds, interleaved, line, ratio
from attnlab.timing.saved import Benchmark
from attnlab.timing.start import memory, starting
from attnlab.timing.textbook import RATE, Shape, by_hand, ours, x_transformers
from attnlab.timing.textbook import stacked as lanes
from attnlab.training.environment import environment
from attnlab.training.stepper import SoloStepper

Race = Callable[[Mapping[str, Program]], Seconds]
"""Programs to their seconds, round by round."""

TEXTBOOK = Shape()
WIDE = Shape(width=128, length=128)
RECALL = Shape(vocabulary=8192, batch=256)
LANES = (1, 8, 32)
STRAIGHT = 1.3
"""Exponent in the length below which a cost is linear and not quadratic."""


def bench(device: torch.device, rounds: int = ROUNDS, peers: bool = False, long: bool = False) -> Benchmark:
    """Measure all of it; on one thread by the time of the processor, which other work on the machine leaves alone.

    Args:
        device: Where the steps are taken.
        rounds: Interleaved rounds of each comparison.
        peers: Whether to time the peers that are installed.
        long: Whether to measure a sweep of eight runs, and how costs grow.
    """
    lines: list[Measured] = []
    left_out: list[str] = []
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    race = partial(interleaved, rounds=rounds, clock=clock, settle=settled(device))
    found, missing = textbook(device, race, peers)
    lines += found
    left_out += missing
    lines += rate(device, race)
    lines += recall(device, race)
    lines += variants(device, race)
    if device.type == "cpu":
        lines += [memory(), *starting(rounds)]
        left_out.append("Lanes and compiled steps are measured on a GPU alone.")
    else:
        lines += stacked(device, race)
    if long:
        lines += [eight(rounds)] if device.type == "cpu" else []
        lines += growth(apart(device))
    else:
        left_out.append("A sweep of eight runs, and how costs grow, are measured with --long.")
    told = {**environment(device), "clock": "processor" if alone else "wall"}
    return Benchmark(lines, told, left_out)


def settled(device: torch.device) -> Program:
    """Waits for the device, where it runs ahead."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def repeated(program: Program, times: int) -> Program:
    """A program, several times over: a round longer than the clock's grain and the scheduler's slice."""

    def run() -> None:
        for _ in range(times):
            program()

    return run


def textbook(device: torch.device, race: Race, peers: bool) -> tuple[list[Measured], list[str]]:
    """The textbook shape against a loop written by hand and against peers, and what was left out."""
    programs: dict[str, Program] = {"ours": ours(TEXTBOOK, device), "hand": by_hand(TEXTBOOK, device)}
    missing = []
    for name, flash in (("x-transformers", False), ("x-transformers, fused", True)) if peers else ():
        rival = x_transformers(TEXTBOOK, device, flash)
        if rival is not None:
            programs[name] = rival
    if peers and len(programs) == 2:
        missing.append("x-transformers is not installed: pip install x-transformers.")
    seconds = race({name: repeated(one, 3) for name, one in programs.items()})
    goals = {"hand": 1.0, "x-transformers": 1.3}
    rivals = [name for name in seconds if name != "ours"]
    words = {"hand": "a fused loop written by hand"}
    lines = [
        ratio(f"{words.get(name, name)} / ours", seconds[name], seconds["ours"], goal=goals.get(name))
        for name in rivals
    ]
    return lines, missing


def rate(device: torch.device, race: Race) -> Iterator[Measured]:
    """The share of the measured rate of one matrix product that a step of width 128 reaches."""
    size = 1024
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    programs: dict[str, Program] = {
        "ours": ours(WIDE, device),
        "hand": by_hand(WIDE, device),
        "product": repeated(lambda: one @ other, 8),
    }
    seconds = race(programs)
    floor = [taken / (8 * 2 * size**3) * WIDE.operations for taken in seconds["product"]]
    yield ratio("matmul floor / ours, width 128, T 128", floor, seconds["ours"], goal=0.65)
    yield ratio("matmul floor / hand-written, the same", floor, seconds["hand"])


def recall(device: torch.device, race: Race) -> Iterator[Measured]:
    """Multi-query recall over 8192 ids, its batches drawn anew for every step, against the way it was published."""
    spec = RunSpec(
        task=TaskSpec(name="recall", options={"vocabulary": 8192, "length": 64, "pairs": 4}),
        model=RECALL.spec().model,
        train=TrainSpec(batch=RECALL.batch),
    )
    source = Source(spec.task, 0)
    stepper, taken = SoloStepper(spec, source, device, "never"), [0]

    def draw() -> Batch:
        taken[0] += 1
        return source.training(taken[0], RECALL.batch)

    def step() -> None:
        stepper.step({0: draw()}, {0: RATE})

    programs: dict[str, Program] = {"every": every_position(RECALL, device), "ours": step}
    seconds = race(programs)
    note = "V 8192, T 64, 4 pairs, batch 256, drawing included"
    yield ratio("every position, rows one by one / ours", seconds["every"], seconds["ours"], goal=8.0, note=note)
    random = np.random.RandomState(0)
    drawing = race({"rows": lambda: row_by_row(random, 8192, 64, RECALL.batch), "ours": repeated(draw, 20)})
    yield ratio("drawing rows one by one / ours", drawing["rows"], drawing["ours"], factor=20, goal=100.0)
    share = [one / 20 / other for one, other in zip(drawing["ours"], seconds["ours"], strict=True)]
    yield line("share of a step that draws its batch", share, goal=0.02, below=True, unit="")


def variants(device: torch.device, race: Race) -> Iterator[Measured]:
    """Steps of other attentions over one of softmax, at the textbook shape."""
    names = ("softmax", "expressive", "dape", "linear", "delta")
    programs = {name: ours(TEXTBOOK, device, attention=name) for name in names}
    seconds = race(programs)
    for name in names[1:]:
        yield ratio(f"{name} / softmax", seconds[name], seconds["softmax"])


def stacked(device: torch.device, race: Race) -> Iterator[Measured]:
    """Lanes and compiled steps over solo eager ones, in tokens per second."""
    programs: dict[str, Program] = {"solo": ours(TEXTBOOK, device), "compiled": ours(TEXTBOOK, device, "always")}
    programs |= {f"{count} lanes": lanes(TEXTBOOK, device, count) for count in LANES}
    seconds = race({name: repeated(one, 10) for name, one in programs.items()})
    solo = seconds["solo"]
    yield ratio("tokens/s, compiled / solo eager", solo, seconds["compiled"], goal=3.0)
    for count in LANES:
        goal = 15.0 if count == 32 else None
        yield ratio(f"tokens/s, {count} lanes / solo eager", solo, seconds[f"{count} lanes"], factor=count, goal=goal)
    yield ratio("step of 8 lanes / of 1", seconds["8 lanes"], seconds["1 lanes"])


def growth(measure: Measure) -> Iterator[Measured]:
    """Exponents of time and memory: in the length for several attentions, in the other sizes for softmax."""
    wanted = [(name, "length") for name in NAMES] + [("softmax", axis) for axis in AXES if axis != "length"]
    for name, axis in wanted:
        found = grown(name, axis, AXES[axis], measure)
        goal = STRAIGHT if axis == "length" and ATTENTIONS.entry(name).kind.scans else None
        span = f"{found.sizes[0]}..{found.sizes[-1]}"
        for cost, words in (("seconds", "time"), ("bytes", "memory")):
            named = f"{name}: {words} of a sequence grows with {axis}^"
            yield line(named, [found.exponent(cost)], goal=goal, below=True, unit="", note=span)
