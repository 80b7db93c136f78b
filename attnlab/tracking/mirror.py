"""The mirror: passes training events on to trackers, each on a thread of its own, and never waits for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from attnlab.tracking._feed import Feed
from attnlab.tracking.base import TRACKERS
from attnlab.training.events import Event, Progress, RunFinished, RunStarted

CLOSE_SECONDS = 30.0
"""Seconds that a slow tracker has after the last run."""


@contextmanager
def mirrored(
    progress: Progress, trackers: Sequence[str], store: Path, group: str, tell: Callable[[str], None]
) -> Iterator[Progress]:
    """Pass training events on to a callback and to trackers.

    A tracker that fails is told once, and the runs go on without it. One that is slower than the runs misses points of
    the training loss.

    Args:
        progress: Receives every event first.
        trackers: Names in the registry; none costs nothing.
        store: The folder of results.
        group: What the runs belong to; empty for single runs.
        tell: Takes one line about a tracker; it is called on the thread that the events come from.

    Yields:
        The callback that receives the events. Nothing is opened before the first run starts.
    """
    if not trackers:
        yield progress
        return
    mirror = Mirror(progress, trackers, store, group, tell)
    try:
        yield mirror
    finally:
        mirror.close()


class Mirror:
    """The callback of :func:`mirrored`."""

    def __init__(
        self, progress: Progress, trackers: Sequence[str], store: Path, group: str, tell: Callable[[str], None]
    ) -> None:
        self.progress, self.trackers, self.store, self.group, self.tell = progress, trackers, store, group, tell
        self.feeds: list[Feed] = []
        self.told: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self.progress(event)
        if not self.feeds and isinstance(event, RunStarted | RunFinished):
            self.feeds = [Feed(TRACKERS.entry(name), self.store, self.group) for name in self.trackers]
        for feed in self.feeds:
            feed.put(event)
        self._tell_failures()

    def close(self) -> None:
        """Wait until all is written, for :data:`CLOSE_SECONDS` at most, and tell what was left out."""
        end = time.monotonic() + CLOSE_SECONDS
        for feed in self.feeds:
            feed.end()
        for feed in self.feeds:
            feed.join(max(0.0, end - time.monotonic()))
        self._tell_failures()
        for feed in self.feeds:
            missed = feed.missed
            if missed and not feed.failure:
                noun = "1 event was" if missed == 1 else f"{missed:,} events were"
                self.tell(f"{feed.name} is slower than the runs; {noun} left out there. {self._later(feed.name)}")

    def _tell_failures(self) -> None:
        """Tell of each tracker that has failed, once."""
        for feed in self.feeds:
            if feed.failure and feed.name not in self.told:
                self.told.add(feed.name)
                self.tell(f"{feed.failure} The runs go on without it. {self._later(feed.name)}")

    def _later(self, name: str) -> str:
        """The command that writes what the store has."""
        return f"Later: attnlab track {quote(str(self.store))} --to {name}"
