"""Ctrl-C takes effect at the end of a step rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the user has asked to stop."""

    requested = False
    """Set by the first Ctrl-C or SIGTERM."""


_active: list[Interruption] = []
"""The interruptions of the open contexts, so that a training within a sweep uses that of the sweep."""


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Within this context, the first Ctrl-C or SIGTERM sets ``requested``; a second one stops at once, as usual.

    In a thread other than the main one, signals are left unchanged.
    """
    if _active:
        yield _active[-1]
        return
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        interruption.requested = True
        for each, handler in previous.items():
            signal.signal(each, handler)

    try:
        _active.append(interruption)
        for number in previous:
            signal.signal(number, handle)
        yield interruption
    finally:
        _active.pop()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def polling(interruption: Interruption) -> Iterator[None]:
    """Within this context, :func:`interruptible` yields the given interruption and leaves signals unchanged.

    Workers use it, because they are asked to stop by other means than signals.

    Args:
        interruption: What is yielded.

    Yields:
        Nothing.
    """
    _active.append(interruption)
    try:
        yield
    finally:
        _active.pop()
