"""How the cost of a step grows with length, width, vocabulary and vmapped runs: exponents, fitted on logarithms.

    cost(x) ~ x^a      a from least squares over the upper half of the sizes, where constants weigh least

A cost is the time of a step per sequence, or the memory that the step takes per sequence beyond what the process held
before it. Every size is measured in a process of its own, so that none uses memory that another has freed.

Letters  T tokens, D width, V vocabulary, K runs trained as one vmapped program.
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

from attnlab.attention import ATTENTIONS
from attnlab.training.memory import forget_peak, status_field
from benchmarks.timing.startup import run_python
from benchmarks.timing.textbook import Shape, Step, ours, vmapped

NAMES = ("softmax", "expressive", "dape", "linear", "delta")
AXES = {
    "length": (64, 128, 256, 512, 1024, 2048, 4096, 8192),
    "width": (32, 64, 128, 256, 512),
    "vocabulary": (64, 512, 4096, 32768),
    "vmap": (1, 2, 4, 8, 16),
}
LONG = "long"
LENGTHS = (512, 1024, 2048, 4096)
"""Lengths at which every mechanism that forms scores is measured, one sequence a step."""
MOST_EXPONENTS = {"seconds": 2.1, "bytes": 1.15}
"""Goals of their exponents, fitted over all these lengths."""
MAX_TOKENS = 2**12
"""Most tokens of a batch; batches of longer sequences have fewer of them, at least one."""
STEPS = 3
PRINT_COST = "import sys; from benchmarks.timing.growth import print_cost; print_cost(*sys.argv[1:])"


@dataclass(frozen=True)
class Cost:
    """The cost of a step per sequence."""

    seconds: float
    """The lowest of a few steps; processor time on a CPU."""
    bytes: float
    """Peak memory beyond what was held before."""


@dataclass(frozen=True)
class Growth:
    """Costs at each size, for one attention along one axis."""

    name: str
    axis: str
    sizes: tuple[int, ...]
    costs: tuple[Cost, ...]

    def exponent(self, cost: str) -> float:
        """Fit the exponent of ``seconds`` or ``bytes`` over the upper half of the sizes, or all lengths of ``long``."""
        least = len(self.sizes) if self.axis == LONG else 2
        return exponent(self.sizes, [float(getattr(one, cost)) for one in self.costs], least)


Measure = Callable[[str, str, int], Cost]
"""(attention, axis, size) -> cost."""


def scoring() -> list[str]:
    """Name the attentions of the registry that form scores; the others have a scan or a matrix of their own."""
    return [entry.name for entry in ATTENTIONS if entry.cls.has_scores and not entry.cls.chunked_scan]


def exponent(sizes: Sequence[float], values: Sequence[float], least: int = 2) -> float:
    """Fit the slope of the logarithms over the upper half of the sizes, and over at least so many.

    >>> round(exponent([1, 2, 4, 8], [9.0, 9.0, 16.0, 64.0]), 3)
    2.0
    """
    if len(sizes) < 2 or min(values) <= 0:
        return float("nan")
    count = max(2, least, len(sizes) // 2)
    return float(np.polyfit(np.log(sizes[-count:]), np.log(values[-count:]), 1)[0])


def measure_growth(name: str, axis: str, sizes: Sequence[int], measure: Measure, budget: float = 10.0) -> Growth:
    """Measure costs at rising sizes, until a step takes more seconds than the budget.

    Args:
        name: The attention.
        axis: The size that rises, a key of :data:`AXES`.
        sizes: The sizes, in order.
        measure: Measures one cost.
        budget: Seconds that a step may take; the first size beyond it is the last.

    Returns:
        The sizes that were measured, with their costs.

    Raises:
        CalledProcessError: The smallest size could not be measured. A larger size that fails, for lack of memory,
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
    """Measure costs on a device, each in a process of its own."""

    def measure(name: str, axis: str, size: int) -> Cost:
        return Cost(**json.loads(run_python(PRINT_COST, name, axis, str(size), str(device)).splitlines()[-1]))

    return measure


def print_cost(name: str, axis: str, size: str, device: str) -> None:
    """Measure a cost in this process, and write it to standard error."""
    torch.set_num_threads(1)
    cost = cost_here(name, axis, int(size), torch.device(device))
    sys.stderr.write(json.dumps({"seconds": cost.seconds, "bytes": cost.bytes}) + "\n")


def cost_here(name: str, axis: str, size: int, device: torch.device) -> Cost:
    """Measure the cost of a step in this process."""
    step, clock, spent = program(name, axis, size, device), time.process_time, []
    if device.type == "cuda":
        clock = time.perf_counter
        torch.cuda.reset_peak_memory_stats(device)
    forget_peak()
    before = memory_held(device)
    for _ in range(STEPS + 1):
        start = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(clock() - start)
    count = sequences(axis, size)
    return Cost(min(spent[1:]) / count, max(0, memory_peak(device) - before) / count)


def program(name: str, axis: str, size: int, device: torch.device) -> Step:
    """Make a step of an attention at a size."""
    if axis != "vmap":
        return ours(shape_of(axis, size), device, attention=name)
    return vmapped(shape_of(axis, size), device, size, attention=name)


def shape_of(axis: str, size: int) -> Shape:
    """Change one size of a small model."""
    base = Shape(layers=1, batch=16)
    if axis == LONG:
        return replace(base, length=size, batch=1)
    if axis == "length":
        return replace(base, length=size, batch=max(1, min(16, MAX_TOKENS // size)))
    return base if axis == "vmap" else replace(base, **{axis: size})


def sequences(axis: str, size: int) -> int:
    """The number of sequences of a step, of all vmapped runs together."""
    return shape_of(axis, size).batch * (size if axis == "vmap" else 1)


def memory_held(device: torch.device) -> int:
    """Bytes held now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else status_field("VmRSS")


def memory_peak(device: torch.device) -> int:
    """The most bytes held so far."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else status_field("VmHWM")
