"""One tracker on a thread of its own, behind a bounded queue that nobody waits for."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import final

from attnlab.registry import Entry
from attnlab.tracking.base import Tracker
from attnlab.tracking.failure import failure_text
from attnlab.tracking.points import write_event
from attnlab.training.events import Event, Notice, Preparing, StepsTaken

BATCH_SECONDS, BATCH = 1.0, 500
"""Events are written together: after this time from the first, or as soon as so many wait.

A thread that woke for each event would take the interpreter lock, and the caches, from the training each time.
"""
MOST_STEPS, MOST = 2_000, 20_000
"""Events that wait at most: beyond the first number no training losses are taken, beyond the second nothing is."""


@final
class Feed:
    """Takes events and writes them to a tracker.

    Args:
        entry: The registered tracker; it is made on the thread, because its package may take seconds to import.
        store: The folder of results.
        group: What the runs belong to.
    """

    def __init__(self, entry: Entry[Tracker], store: Path, group: str) -> None:
        self.name = entry.name
        self.failure = ""
        """Why nothing more is written, in one line; empty while all is well."""
        self._entry, self._store, self._group = entry, store, group
        self._left_out = 0
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = self._given_up = False
        self._thread = threading.Thread(target=self._run, name=f"attnlab {entry.name}", daemon=True)
        self._thread.start()

    @property
    def missed(self) -> int:
        """Events that the tracker did not get."""
        return self._left_out

    def put(self, event: Event) -> None:
        """Queue an event, or leave it out where too many wait already; it never waits."""
        if isinstance(event, Notice | Preparing):
            return
        with self._changed:
            if self.failure:
                return
            if len(self._waiting) >= (MOST_STEPS if isinstance(event, StepsTaken) else MOST):
                self._left_out += 1
                return
            self._waiting.append(event)
            if len(self._waiting) in (1, BATCH):
                self._changed.notify()

    def end(self) -> None:
        """Say that no event follows."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait until all is written; what is not written by then is left out.

        Args:
            seconds: The longest time.
        """
        self._thread.join(seconds)
        with self._changed:
            self._given_up = True
            if self._thread.is_alive():  # the event that it is at, and those that wait
                self._left_out += 1 + len(self._waiting)
                self._waiting.clear()

    def _run(self) -> None:
        """Write events until the end, or until the tracker fails."""
        try:
            tracker = self._entry.cls(self._store, self._group)
            try:
                self._write_all(tracker)
            finally:
                tracker.close()
        except (Exception, SystemExit) as error:
            with self._changed:
                self.failure = self.failure or failure_text(self._entry, error)
                self._waiting.clear()

    def _write_all(self, tracker: Tracker) -> None:
        """Write what waits, and flush whenever nothing does."""
        opened: set[str] = set()
        while (event := self._next(tracker)) is not None:
            write_event(tracker, event, opened)

    def _next(self, tracker: Tracker) -> Event | None:
        """The next event; None after the last."""
        if not self._waiting:
            tracker.flush()
            self._gather()
        with self._changed:
            return self._waiting.popleft() if self._waiting and not self._given_up else None

    def _gather(self) -> None:
        """Wait for the first event, and then for those of its batch; the end ends both."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._changed.wait_for(lambda: len(self._waiting) >= BATCH or self._ended, BATCH_SECONDS)
