"""How the cost of a step grows with length, width, vocabulary and lanes: exponents, fitted on logarithms.

    cost(x) ~ x^a      a from least squares over the upper half of the sizes, where constants no longer hide it

A cost is the time of a step per sequence, or the memory that the step takes per sequence beside what the process held
before it. Every size is measured in a process of its own, so that none finds memory that another has left.

Letters  T tokens, D width, V vocabulary, K lanes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from subprocess import CalledProcessError

import numpy as np
import torch

from attnlab.training.memory import forget_peak, status_field
from benchmarks.timing.start import said
from benchmarks.timing.textbook import Shape, Step, ours, stacked

NAMES = ("softmax", "expressive", "dape", "linear", "delta")
AXES = {
    "length": (64, 128, 256, 512, 1024, 2048, 4096, 8192),
    "width": (32, 64, 128, 256, 512),
    "vocabulary": (64, 512, 4096, 32768),
    "lanes": (1, 2, 4, 8, 16),
}
LONG = 2**12
"""Tokens of a batch at most; longer sequences come fewer at a time, one at the least."""
STEPS = 3
TELL = "import sys; from benchmarks.timing.growth import tell; tell(*sys.argv[1:])"


@dataclass(frozen=True)
class Cost:
    """What a step takes per sequence."""

    seconds: float
    """The least of a few steps: of the processor, where it is a CPU."""
    bytes: float
    """Memory at the peak, beside what was held before."""


@dataclass(frozen=True)
class Growth:
    """Costs at each size, for one attention along one axis."""

    name: str
    axis: str
    sizes: tuple[int, ...]
    costs: tuple[Cost, ...]

    def exponent(self, cost: str) -> float:
        """Of the upper half of the sizes, two at the least."""
        return exponent(self.sizes, [float(getattr(one, cost)) for one in self.costs])


Measure = Callable[[str, str, int], Cost]
"""An attention, an axis and a size to the cost there."""


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the logarithms over the upper half of the sizes.

    >>> round(exponent([1, 2, 4, 8], [9.0, 9.0, 16.0, 64.0]), 3)
    2.0
    """
    if len(sizes) < 2 or min(values) <= 0:
        return float("nan")
    saved = max(2, len(sizes) // 2)
    return float(np.polyfit(np.log(sizes[-saved:]), np.log(values[-saved:]), 1)[0])


def grown(name: str, axis: str, sizes: Sequence[int], measure: Measure, budget: float = 10.0) -> Growth:
    """Costs at rising sizes, until a step would take more than a budget of seconds for all its sequences.

    Args:
        name: The attention.
        axis: What rises.
        sizes: The sizes, in order.
        measure: What tells the cost.
        budget: Seconds that a step may take; the first size beyond it is the last.

    Raises:
        CalledProcessError: not even the smallest size could be measured. A larger one that cannot, for want of memory,
            ends the series.
    """
    measured: list[tuple[int, Cost]] = []
    for size in sizes:
        try:
            cost = measure(name, axis, size)
        except CalledProcessError:
            if not measured:
                raise
            break
        measured.append((size, cost))
        if cost.seconds * sequences(axis, size) > budget:
            break
    return Growth(name, axis, tuple(size for size, _ in measured), tuple(cost for _, cost in measured))


def isolated(device: torch.device) -> Measure:
    """Costs on a device, each in a process of its own."""

    def measure(name: str, axis: str, size: int) -> Cost:
        return Cost(**json.loads(said(TELL, name, axis, str(size), str(device)).splitlines()[-1]))

    return measure


def tell(name: str, axis: str, size: str, device: str) -> None:
    """Write a cost, as this process finds it, to its standard error."""
    torch.set_num_threads(1)
    cost = taken(name, axis, int(size), torch.device(device))
    sys.stderr.write(json.dumps({"seconds": cost.seconds, "bytes": cost.bytes}) + "\n")


def taken(name: str, axis: str, size: int, device: torch.device) -> Cost:
    """The cost of a step here and now."""
    step, clock, spent = program(name, axis, size, device), time.process_time, []
    if device.type == "cuda":
        clock = time.perf_counter
        torch.cuda.reset_peak_memory_stats(device)
    forget_peak()
    before = held(device)
    for _ in range(STEPS + 1):
        start = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(clock() - start)
    many = sequences(axis, size)
    return Cost(min(spent[1:]) / many, max(0, peak(device) - before) / many)


def program(name: str, axis: str, size: int, device: torch.device) -> Step:
    """A step of an attention at a size."""
    if axis != "lanes":
        return ours(shaped(axis, size), device, attention=name)
    return stacked(shaped(axis, size), device, size, attention=name)


def shaped(axis: str, size: int) -> Shape:
    """A small model with one size changed."""
    base = Shape(layers=1, batch=16)
    if axis == "length":
        return replace(base, length=size, batch=max(1, min(16, LONG // size)))
    return base if axis == "lanes" else replace(base, **{axis: size})


def sequences(axis: str, size: int) -> int:
    """Sequences of a step: of all lanes."""
    return shaped(axis, size).batch * (size if axis == "lanes" else 1)


def held(device: torch.device) -> int:
    """Bytes held now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else status_field("VmRSS")


def peak(device: torch.device) -> int:
    """Bytes held at most so far."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else status_field("VmHWM")
