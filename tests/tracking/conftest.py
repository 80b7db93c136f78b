"""A tracker that keeps what it is given."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from attnlab.tracking import TRACKERS, TrackedRun, Tracker

Points = list[tuple[int, Mapping[str, float]]]


class Memory(Tracker):
    """Keeps all in lists."""

    package = extra = "memory"
    calls: list[tuple[str, object]] = []
    points: dict[str, Points] = {}
    runs: dict[str, TrackedRun] = {}
    groups: list[str] = []
    threads: set[int] = set()
    fail_in = ""
    error: Exception = OSError(28, "No space left on device")
    hold = threading.Event()
    """Cleared to make the tracker as slow as can be."""

    def __init__(self, store: Path, group: str) -> None:
        super().__init__(store, group)
        self.groups.append(group)
        self._meet("init")

    def start(self, run: TrackedRun, step: int) -> None:
        self._meet("start")
        self.calls.append(("start", step))
        self.runs[run.spec.id] = run

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        self._meet("log")
        self.points.setdefault(run, []).append((step, values))

    def finish(self, run: str, step: int, values: Mapping[str, float], table: str) -> None:
        self._meet("finish")
        self.points.setdefault(run, []).append((step, values))
        self.calls.append(("finish", table))

    def has_finished(self, run: TrackedRun) -> bool:
        return run.spec.id in self.points

    def close(self) -> None:
        self.calls.append(("close", None))

    def _meet(self, what: str) -> None:
        self.threads.add(threading.get_ident())
        self.hold.wait(60)
        if self.fail_in == what:
            raise self.error


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Memory]]:
    """The tracker ``memory``, empty."""
    TRACKERS.discover()
    monkeypatch.setattr(TRACKERS, "_entries", dict(TRACKERS._entries))
    TRACKERS.register("memory", source="ours")(Memory)
    fresh: dict[str, object] = {"calls": [], "points": {}, "runs": {}, "groups": [], "threads": set(), "fail_in": ""}
    for name, value in (fresh | {"hold": threading.Event()}).items():
        monkeypatch.setattr(Memory, name, value)
    Memory.hold.set()
    yield Memory
    Memory.hold.set()
    for thread in threading.enumerate():  # one that hung would write into the lists of the next test
        if thread.name.startswith("attnlab "):
            thread.join()
