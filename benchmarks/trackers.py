"""The cost of trackers: steps per second with one, over those without, and the time to open and to close a run.

    python -m benchmarks.trackers                # the trackers that are installed: a Markdown table

For each tracker, one training of a small model, whose steps are short, is divided into blocks of steps with one
validation each. Blocks with and without the tracker take turns, so that other load on the machine slows both alike.
Processor seconds of this process are counted, those of the threads of the tracker among them; W&B sends its numbers to
a process of its own, whose time is not counted. The share of the tracker's own thread is told beside the ratio, because
it varies less. The tracker has written all of a block before the next begins: one that writes every few seconds writes
at least once in each of its blocks, which is more often than in a training.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, final

from attnlab.experiments.bench_result import quartiles
from attnlab.tracking import TRACKERS
from attnlab.tracking._feed import Feed
from attnlab.training.events import Event, RunFinished, RunStarted, Validated

BLOCK = 400
"""Steps of a block."""
MODEL = {"layers": 2, "width": 32, "heads": 2}
GOAL = 0.98
IDLE_SECONDS = 0.03
"""What an idle queue is watched for, while its last event is being written."""


@final
class Turns:
    """A callback that passes the events of each block on to one tracker, or to none.

    Args:
        names: The trackers.
        folder: Where they write.
    """

    def __init__(self, names: list[str], folder: Path) -> None:
        self.names = ["", *names]
        """What takes turns; the empty name is no tracker."""
        self.feeds = {name: Feed(TRACKERS.entry(name), folder, "") for name in names}
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.own: defaultdict[str, float] = defaultdict(float)
        """Processor seconds of the thread of each tracker in its blocks."""
        self.opening: dict[str, float] = {}
        self.closing: dict[str, float] = {}
        self.block, self.started = 0, 0.0
        self.before: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Pass an event on; a validation ends a block."""
        if isinstance(event, RunStarted | RunFinished):
            times = self.opening if isinstance(event, RunStarted) else self.closing
            for name in self.feeds:
                times[name] = self._timed(name, event)
            self.before = {one: self._thread_seconds(one) for one in self.feeds}
            self.started = time.process_time()
            return
        turn, place = divmod(self.block, len(self.names))
        name = self.names[(place + turn) % len(self.names)]
        if name:
            self.feeds[name].put(event)
        if isinstance(event, Validated):
            if name:
                self._wait(name)
            time.sleep(IDLE_SECONDS)  # without a tracker too: a rest makes caches cold
            self.seconds[name].append(time.process_time() - self.started)
            if name:
                self.own[name] += self._thread_seconds(name) - self.before[name]
            self.block += 1
            self.before = {one: self._thread_seconds(one) for one in self.feeds}
            self.started = time.process_time()

    def _timed(self, name: str, event: Event) -> float:
        start = time.process_time()
        self.feeds[name].put(event)
        self._wait(name)
        time.sleep(IDLE_SECONDS)
        return time.process_time() - start

    def _thread_seconds(self, name: str) -> float:
        """Processor seconds of the thread of a tracker so far."""
        thread = self.feeds[name]._thread
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) if thread.ident else 0.0

    def _wait(self, name: str) -> None:
        """Wait until all is taken from the queue; waiting takes no processor time."""
        feed = self.feeds[name]
        while feed._waiting and not feed.failure:
            time.sleep(IDLE_SECONDS / 10)

    def close(self) -> None:
        """Close all trackers, and refuse numbers of one that has failed."""
        for feed in self.feeds.values():
            feed.end()
            feed.join(60)
            if feed.failure:
                raise SystemExit(feed.failure)


def installed() -> list[str]:
    """The trackers whose packages are there."""
    import importlib.util

    TRACKERS.discover()
    return [entry.name for entry in TRACKERS if importlib.util.find_spec(entry.cls.package or "attnlab")]


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="blocks with and without (5)")
    parser.add_argument("--trackers", nargs="+", default=installed(), help="their names (all that are installed)")
    given = parser.parse_args()
    import attnlab

    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TRACKIO_DIR", f"{folder}/trackio")
        print(
            "| tracker | steps per second over those without (quartiles) | goal | its thread | open a run | close it |"
        )
        print("|---|---|---|---|---|---|")
        for name in given.trackers:
            turns = Turns([name], Path(folder))
            steps = BLOCK * (len(turns.names) * (given.rounds + 1))
            train = {"max_steps": steps, "eval_every": BLOCK, "early_stop_accuracy": None}
            train |= {"batch_size": 32, "validation_examples": 64}
            words: dict[str, Any] = {"model": MODEL, "train": train, "device": "cpu", "store": None}
            attnlab.train("copy", complexity=4, callbacks=[turns], progress=False, **words)
            turns.close()
            print(line(turns, name), flush=True)


def line(turns: Turns, name: str) -> str:
    """One line of the table; the first block of each warms up."""
    plain, own = turns.seconds[""][1:], turns.seconds[name][1:]
    low, middle, high = quartiles([without / with_it for without, with_it in zip(plain, own, strict=True)])
    share = 100 * turns.own[name] / sum(turns.seconds[name])
    times = f"{share:.2f} % | {turns.opening[name]:.2f} s | {turns.closing[name]:.3f} s"
    return f"| `{name}` | {middle:.3f} ({low:.3f}-{high:.3f}) | {GOAL} | {times} |"


if __name__ == "__main__":
    main()
