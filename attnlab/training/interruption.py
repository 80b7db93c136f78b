"""Ctrl-C, heard at the end of a step rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the person asked to stop."""

    requested = False


_outer: list[Interruption] = []
"""The interruption that is being listened for, so that a training within a sweep listens for the same."""


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Within it, the first Ctrl-C (or a polite kill) sets ``asked``; a second one stops at once, as usual."""
    if _outer:
        yield _outer[-1]
        return
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

    def hear(kind: int, frame: FrameType | None) -> None:
        interruption.requested = True
        for each in before:
            signal.signal(each, before[each])

    try:
        _outer.append(interruption)
        for kind in before:
            signal.signal(kind, hear)
        yield interruption
    finally:
        _outer.pop()
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def polling(interruption: Interruption) -> Iterator[None]:
    """Within it, whoever listens for Ctrl-C listens for this instead: workers are told to stop by other ways."""
    _outer.append(interruption)
    try:
        yield
    finally:
        _outer.pop()
