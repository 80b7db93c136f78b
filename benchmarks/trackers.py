"""The cost of trackers: steps per second with one, over those without, and the time to open a run.

    python -m benchmarks.trackers                # the trackers that are installed: a Markdown table

A tracker writes on a thread of its own, and sleeps between. So one training has both. Its steps come in intervals of
ten, between two events; after every twentieth event the tracker writes all twenty. The two intervals after that are
paired with the two before and the two that follow, tens of milliseconds away, so other load slows them alike.
Trainings with and without a tracker, or longer blocks of steps, differ by more than a tracker costs. Batches are
counted here: one that comes every second, as outside of this measurement, falls most often into those intervals that
are long for other reasons.

    ratio = what the steps would have taken / what they took
    what they would have taken = all intervals, where the two after a batch count as the mean of those beside them
    what they took, processor  = all intervals, the calls of the queue, the thread of the tracker and its processes
    what they took, clock      = all intervals and the calls of the queue

The first is the cost where no core is free, the second that on this machine as it is. Sums, not medians, are taken over
the intervals of a round, so that a write every ten seconds counts; then the median and quartiles over rounds. What a
tracker costs between its writes, beside the calls of the queue, is not seen: it has nothing to do then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import psutil

from attnlab.experiments.bench_result import quartiles
from attnlab.tracking import TRACKERS, _feed
from attnlab.training.events import Event, StepsTaken

MODEL = {"layers": 2, "width": 32, "heads": 2}
MOST_STEPS = 1_000_000
GOAL = 0.98
BATCH = 20
"""Events of a batch: about as many as come in a second of these steps."""
REST_SECONDS = 10.0
WARM = 2 * BATCH
"""Intervals that do not count."""


class Clocks(NamedTuple):
    """Seconds so far."""

    clock: float
    training: float
    """Processor seconds of the thread that trains; those below likewise."""
    tracker: float
    processes: float


class Reading(NamedTuple):
    """What is read at a call of the queue."""

    before: Clocks
    after: Clocks
    full: bool
    """Whether the event completed a batch."""


@dataclass(frozen=True)
class Interval:
    """Ten steps: the seconds that they took, and those of the call of the queue at their end."""

    steps: Clocks
    call: Clocks
    worked: bool
    """Whether it is one of the two after a batch."""


@dataclass(frozen=True)
class Round:
    """The intervals of some seconds, and what they say."""

    intervals: Sequence[Interval]
    without: Sequence[Clocks]
    """What the steps of each interval would have taken without a tracker."""

    @property
    def processor(self) -> float:
        """The ratio in processor seconds."""
        taken = self.taken("training") + self.taken("tracker") + self.taken("processes")
        return sum(one.training for one in self.without) / taken

    @property
    def clock(self) -> float:
        """The ratio by the clock."""
        return sum(one.clock for one in self.without) / self.taken("clock")

    def taken(self, name: str) -> float:
        """Seconds of one clock; a tracker and its processes work on while the queue is called."""
        return sum(getattr(one.steps, name) + getattr(one.call, name) for one in self.intervals)


def without(found: Sequence[Interval]) -> list[Clocks]:
    """What the steps of each interval would have taken: for the two after a batch, the mean of the nearest four others.

    Args:
        found: All intervals of a run, in order.

    Returns:
        The clocks of each; an interval at an edge has fewer neighbors.
    """
    idle = [index for index, one in enumerate(found) if not one.worked]
    result = []
    for index, one in enumerate(found):
        after = bisect_left(idle, index)
        near = [found[i].steps for i in idle[max(0, after - 2) : after + 2]] if one.worked else [one.steps]
        result.append(Clocks(*(sum(values) / len(near) for values in zip(*near, strict=True))))
    return result


@final
class Watch:
    """A callback that passes events on to a tracker, and reads the clocks around each.

    Args:
        name: The tracker.
        folder: Where it writes.
        seconds: How long the run is watched.
    """

    def __init__(self, name: str, folder: Path, seconds: float) -> None:
        _feed.BATCH_SECONDS, _feed.BATCH = 600.0, BATCH  # by count alone, in this process
        self.feed = _feed.Feed(TRACKERS.entry(name), folder, "")
        self.seconds = seconds
        self.times: list[Reading] = []
        self.opening = 0.0
        self.rest = 0.0
        """Processor seconds of its processes in a second without events."""
        self.children: list[psutil.Process] = []

    def __call__(self, event: Event) -> None:
        """Pass an event on; it raises KeyboardInterrupt when the time is up."""
        full = len(self.feed._waiting) == BATCH - 1
        before = self._now()
        self.feed.put(event)
        if isinstance(event, StepsTaken):
            self.times.append(Reading(before, self._now(), full))
            if len(self.times) == WARM:
                self.children = psutil.Process().children(recursive=True)
                self.opening = self._now().tracker
            if before.clock - self.times[min(len(self.times), WARM) - 1].before.clock > self.seconds:
                raise KeyboardInterrupt

    def close(self) -> None:
        """See what its processes take at rest, close the tracker, and refuse numbers of one that has failed."""
        if self.children:
            before = self._now()
            time.sleep(REST_SECONDS)
            rest = _minus(self._now(), before)
            self.rest = rest.processes / rest.clock
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


def intervals(times: Sequence[Reading]) -> list[Interval]:
    """Make intervals of the clocks before and after each call.

    Args:
        times: What was read at each call.

    Returns:
        Two fewer.
    """
    return [
        Interval(_minus(two.before, one.after), _minus(two.after, two.before), one.full or zero.full)
        for zero, one, two in zip(times, times[1:], times[2:], strict=False)
    ]


def rounds(found: Sequence[Interval], number: int) -> list[Round]:
    """Divide intervals into rounds of equally many.

    Args:
        found: The intervals.
        number: How many rounds.

    Returns:
        The rounds.
    """
    each, expected = len(found) // number, without(found)
    slices = [slice(first, first + each) for first in range(0, each * number, each)]
    return [Round(found[one], expected[one]) for one in slices]


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
    print("| its thread | its processes, at rest | ms per step: processor, clock | open a run |")
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
    found = rounds(intervals(watch.times[WARM:]), number)
    cells = [f"`{name}`"]
    ratios = [[one.processor for one in found], [one.clock for one in found]]
    for values in ratios:
        low, middle, high = quartiles(values)
        cells.append(f"{middle:.4f} ({low:.4f}-{high:.4f})")
    low, _, high = quartiles(ratios[0])
    cells.append("yes" if low >= GOAL else "no" if high < GOAL else "open")
    total = sum(one.taken("training") for one in found)
    cells += [f"{100 * sum(one.taken(kind) for one in found) / total:.2f} %" for kind in ("tracker", "processes")]
    cells[-1] += f", {100 * watch.rest:.2f} %"
    steps = 10 * sum(len(one.intervals) for one in found)
    clock = sum(one.taken("clock") for one in found)
    cells += [f"{1000 * total / steps:.1f}, {1000 * clock / steps:.1f}", f"{watch.opening:.2f} s"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
