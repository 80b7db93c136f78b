"""The cost of trackers: steps per second with one, over those without, and the time to open a run.

    python -m benchmarks.trackers                # the trackers that are installed: a Markdown table

A tracker writes on a thread of its own about once a second, and sleeps between. So one training has both: its steps
come in intervals of ten, between two events, and an interval in which the tracker worked is paired with the nearest
before and after it in which it slept. These are tens of milliseconds apart, so other load on the machine slows both
alike; trainings with and without a tracker, or longer blocks of steps, differ by more than the tracker costs.

    ratio = what the steps would have taken / what they took
    what they would have taken = all intervals, where each with work counts as the mean of its two neighbors
    what they took, processor  = all intervals, the calls of the queue, the thread of the tracker and its processes
    what they took, clock      = all intervals and the calls of the queue

The first is the cost where no core is free, the second that on this machine as it is. Sums, not medians, are taken over
the intervals of a round, so that a write every ten seconds counts; then the median and quartiles over rounds. What a
tracker might cost between its writes, beside the calls of the queue, is not seen: it has nothing to do then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, final

import psutil

from attnlab.experiments.bench_result import quartiles
from attnlab.tracking import TRACKERS
from attnlab.tracking._feed import BATCH_SECONDS, Feed
from attnlab.training.events import Event, RunStarted, StepsTaken

MODEL = {"layers": 2, "width": 32, "heads": 2}
MOST_STEPS = 1_000_000
GOAL = 0.98
IDLE_SECONDS = 0.05
"""What an idle queue is watched for, while its last event is being written."""


class Clocks(NamedTuple):
    """Seconds so far."""

    clock: float
    training: float
    """Processor seconds of the thread that trains; those below likewise."""
    tracker: float
    processes: float


@dataclass(frozen=True)
class Interval:
    """Ten steps: the seconds that they took, and those of the call of the queue at their end."""

    steps: Clocks
    call: Clocks

    @property
    def worked(self) -> bool:
        """Whether the tracker did anything meanwhile."""
        return self.steps.tracker + self.steps.processes > 0


@dataclass(frozen=True)
class Round:
    """The intervals of some seconds, and what they say."""

    intervals: Sequence[Interval]

    @property
    def processor(self) -> float:
        """The ratio in processor seconds."""
        taken = self._sum("training") + self.share("tracker") + self.share("processes")
        return self._without("training") / taken

    @property
    def clock(self) -> float:
        """The ratio by the clock."""
        return self._without("clock") / self._sum("clock")

    def share(self, name: str) -> float:
        """Processor seconds of the tracker or its processes; they work on while the queue is called."""
        return sum(getattr(one.steps, name) + getattr(one.call, name) for one in self.intervals)

    def _sum(self, name: str) -> float:
        return sum(getattr(one.steps, name) + getattr(one.call, name) for one in self.intervals)

    def _without(self, name: str) -> float:
        """What the steps would have taken; an interval at the edge has one neighbor."""
        idle = [index for index, one in enumerate(self.intervals) if not one.worked]
        if not idle:
            raise SystemExit("The tracker worked in all intervals: it is slower than the steps.")
        total = 0.0
        for index, one in enumerate(self.intervals):
            near = [index] if not one.worked else [i for i in (_last(idle, index), _next(idle, index)) if i is not None]
            total += sum(getattr(self.intervals[i].steps, name) for i in near) / len(near)
        return total


def _last(idle: Sequence[int], index: int) -> int | None:
    return max((i for i in idle if i < index), default=None)


def _next(idle: Sequence[int], index: int) -> int | None:
    return min((i for i in idle if i > index), default=None)


@final
class Watch:
    """A callback that passes events on to a tracker, and reads the clocks around each.

    Args:
        name: The tracker.
        folder: Where it writes.
        seconds: How long the run is watched.
    """

    def __init__(self, name: str, folder: Path, seconds: float) -> None:
        self.feed = Feed(TRACKERS.entry(name), folder, "")
        self.seconds = seconds
        self.times: list[tuple[Clocks, Clocks]] = []
        """Before and after each call of the queue."""
        self.opening = 0.0
        self.children: list[psutil.Process] = []

    def __call__(self, event: Event) -> None:
        """Pass an event on; it raises KeyboardInterrupt when the time is up."""
        before = self._now()
        self.feed.put(event)
        if isinstance(event, StepsTaken):
            self.times.append((before, self._now()))
            if self.times[-1][1].clock - self.times[0][0].clock > self.seconds:
                raise KeyboardInterrupt
        if isinstance(event, RunStarted):
            self._rest()
            self.children = psutil.Process().children(recursive=True)
            self.opening = self._now().tracker

    def close(self) -> None:
        """Close the tracker, and refuse numbers of one that has failed."""
        self.feed.end()
        self.feed.join(60)
        if self.feed.failure:
            raise SystemExit(self.feed.failure)

    def _now(self) -> Clocks:
        thread = self.feed._thread
        own = (
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) if thread.is_alive() and thread.ident else 0.0
        )
        started = sum(sum(child.cpu_times()[:2]) for child in self.children)
        return Clocks(time.perf_counter(), time.thread_time(), own, started)

    def _rest(self) -> None:
        """Wait until all is written."""
        time.sleep(BATCH_SECONDS + IDLE_SECONDS)
        while self.feed._waiting and not self.feed.failure:
            time.sleep(IDLE_SECONDS)


def intervals(times: Sequence[tuple[Clocks, Clocks]]) -> list[Interval]:
    """Make intervals of the clocks before and after each call.

    Args:
        times: The clocks.

    Returns:
        One fewer.
    """
    return [Interval(_minus(two[0], one[1]), _minus(two[1], two[0])) for one, two in pairwise(times)]


def rounds(found: Sequence[Interval], number: int) -> list[Round]:
    """Divide intervals into rounds of equally many.

    Args:
        found: The intervals.
        number: How many rounds.

    Returns:
        The rounds.
    """
    each = len(found) // number
    return [Round(found[first : first + each]) for first in range(0, each * number, each)]


def _minus(now: Clocks, before: Clocks) -> Clocks:
    return Clocks(*(one - other for one, other in zip(now, before, strict=True)))


def installed() -> list[str]:
    """The trackers whose packages are there."""
    import importlib.util

    TRACKERS.discover()
    return [entry.name for entry in TRACKERS if importlib.util.find_spec(entry.cls.package or "attnlab")]


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="rounds of ten seconds (8)")
    parser.add_argument("--trackers", nargs="+", default=installed(), help="their names (all that are installed)")
    given = parser.parse_args()
    print("| tracker | processor (quartiles) | clock (quartiles) | at least", GOAL, end=" ")
    print("| its thread | its processes | ms per step | open a run |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in given.trackers:
        if len(given.trackers) == 1:
            print(measured(name, given.rounds), flush=True)
        else:  # each in a process of its own: that of W&B stays to the end of the one that started it
            words = ["benchmarks.trackers", "--rounds", str(given.rounds), "--trackers", name]
            done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True, check=True)
            print(done.stdout.splitlines()[-1], flush=True)


def measured(name: str, number: int) -> str:
    """Measure a tracker: one line of the table."""
    import attnlab
    from attnlab.errors import InterruptedTraining

    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TRACKIO_DIR", f"{folder}/trackio")
        watch = Watch(name, Path(folder), 10.0 * number)
        train = {"max_steps": MOST_STEPS, "eval_every": MOST_STEPS, "early_stop_accuracy": None}
        train |= {"batch_size": 32, "validation_examples": 64}
        words: dict[str, Any] = {"model": MODEL, "train": train, "device": "cpu", "store": None}
        with contextlib.suppress(KeyboardInterrupt, InterruptedTraining):
            attnlab.train("copy", complexity=4, callbacks=[watch], progress=False, **words)
        watch.close()
        return line(watch, name, number)


def line(watch: Watch, name: str, number: int) -> str:
    """One line of the table; the first intervals warm up."""
    found = rounds(intervals(watch.times[5:]), number)
    cells = [f"`{name}`"]
    ratios = [[one.processor for one in found], [one.clock for one in found]]
    for values in ratios:
        low, middle, high = quartiles(values)
        cells.append(f"{middle:.4f} ({low:.4f}-{high:.4f})")
    low, _, high = quartiles(ratios[0])
    cells.append("yes" if low >= GOAL else "no" if high < GOAL else "open")
    total = sum(one.share("training") for one in found)
    cells += [f"{100 * sum(one.share(kind) for one in found) / total:.2f} %" for kind in ("tracker", "processes")]
    steps = 10 * sum(len(one.intervals) for one in found)
    cells += [f"{1000 * total / steps:.1f}", f"{watch.opening:.2f} s"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
