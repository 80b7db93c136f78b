"""The cost of trackers: steps per second with one, over those without, and the time to open and to close a run.

    python -m benchmarks.trackers                # the trackers that are installed: a Markdown table

For each tracker, one training of a small model, whose steps are short, is divided into blocks of steps with one
validation each. Blocks with and without the tracker take turns, so that other load on the machine slows both alike.
Processor seconds are counted, not the clock: those of the thread that trains, and those of the whole process, the
threads of the tracker among them. W&B sends its numbers to a process of its own, whose time is a share beside. The
tracker has written all of a block before the next begins: one that writes every few seconds writes at least once in
each of its blocks, which is more often than in a training. Both kinds of blocks end with the same rest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, final

import psutil

from attnlab.experiments.bench_result import quartiles
from attnlab.tracking import TRACKERS
from attnlab.tracking._feed import BATCH_SECONDS, Feed
from attnlab.training.events import Event, RunFinished, RunStarted, Validated

BLOCK = 400
"""Steps of a block."""
MODEL = {"layers": 2, "width": 32, "heads": 2}
GOAL = 0.98
IDLE_SECONDS = 0.05
"""What an idle queue is watched for, while its last event is being written."""

Times = tuple[float, float, float, float]
"""Processor seconds of the process, the thread that trains, the thread of the tracker, and the processes it started."""


@final
class Turns:
    """A callback that passes the events of each second block on to a tracker.

    Args:
        name: The tracker.
        folder: Where it writes.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.feed = Feed(TRACKERS.entry(name), folder, "")
        self.blocks: defaultdict[bool, list[Times]] = defaultdict(list)
        """With the tracker, or without -> times of each block."""
        self.opening = self.closing = 0.0
        self.block = 0
        self.before = self._now()

    def __call__(self, event: Event) -> None:
        """Pass an event on; a validation ends a block."""
        if isinstance(event, RunStarted | RunFinished):
            self._start()
            self.feed.put(event)
            self._rest()
            if isinstance(event, RunStarted):
                self.opening = self._taken()[0]
            else:
                self.closing = self._taken()[0]
            self._start()
            return
        turn, second = divmod(self.block, 2)
        tracked = bool((second + turn) % 2)
        if tracked:
            self.feed.put(event)
        if isinstance(event, Validated):
            self._rest()
            self.blocks[tracked].append(self._taken())
            self.block += 1
            self._start()

    def _start(self) -> None:
        self.before = self._now()

    def _taken(self) -> Times:
        one, two, three, four = (now - before for now, before in zip(self._now(), self.before, strict=True))
        return one, two, three, four

    def _now(self) -> Times:
        """Processor seconds so far."""
        thread = self.feed._thread
        running = thread.ident is not None and thread.is_alive()
        own = time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) if running and thread.ident else 0.0
        started = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
        return time.process_time(), time.thread_time(), own, started

    def _rest(self) -> None:
        """Wait until all is written; waiting takes no processor time, and makes caches cold without a tracker too."""
        time.sleep(BATCH_SECONDS + IDLE_SECONDS)
        while self.feed._waiting and not self.feed.failure:
            time.sleep(IDLE_SECONDS)

    def close(self) -> None:
        """Close the tracker, and refuse numbers of one that has failed."""
        self.feed.end()
        self.feed.join(60)
        if self.feed.failure:
            raise SystemExit(self.feed.failure)


def installed() -> list[str]:
    """The trackers whose packages are there."""
    import importlib.util

    TRACKERS.discover()
    return [entry.name for entry in TRACKERS if importlib.util.find_spec(entry.cls.package or "attnlab")]


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="blocks with and without (15)")
    parser.add_argument("--trackers", nargs="+", default=installed(), help="their names (all that are installed)")
    given = parser.parse_args()
    print("| tracker | process: steps per second over those without (quartiles) | thread that trains | goal", end=" ")
    print("| its thread | its processes | open a run | close it |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in given.trackers:
        if len(given.trackers) == 1:
            print(measured(name, given.rounds), flush=True)
        else:  # each in a process of its own: that of W&B stays to the end of the one that started it
            words = ["benchmarks.trackers", "--rounds", str(given.rounds), "--trackers", name]
            done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True, check=True)
            print(done.stdout.splitlines()[-1], flush=True)


def measured(name: str, rounds: int) -> str:
    """Measure a tracker: one line of the table."""
    import attnlab

    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TRACKIO_DIR", f"{folder}/trackio")
        turns = Turns(name, Path(folder))
        train = {"max_steps": BLOCK * 2 * (rounds + 1), "eval_every": BLOCK, "early_stop_accuracy": None}
        train |= {"batch_size": 32, "validation_examples": 64}
        words: dict[str, Any] = {"model": MODEL, "train": train, "device": "cpu", "store": None}
        attnlab.train("copy", complexity=4, callbacks=[turns], progress=False, **words)
        turns.close()
        return line(turns, name)


def line(turns: Turns, name: str) -> str:
    """One line of the table; the first block of each warms up."""
    plain, tracked = turns.blocks[False][1:], turns.blocks[True][1:]
    ratios = []
    for kind in (0, 1):
        low, middle, high = quartiles([one[kind] / two[kind] for one, two in zip(plain, tracked, strict=True)])
        ratios.append(f"{middle:.3f} ({low:.3f}-{high:.3f})")
    total = sum(times[0] for times in tracked)
    shares = [f"{100 * sum(times[kind] for times in tracked) / total:.2f} %" for kind in (2, 3)]
    cells = [f"`{name}`", *ratios, str(GOAL), *shares, f"{turns.opening:.2f} s", f"{turns.closing:.3f} s"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
