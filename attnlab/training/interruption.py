"""Ctrl-C, SIGTERM and SIGHUP take effect at the end of a step rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from attnlab.errors import InterruptedTraining
from attnlab.stop_signals import STOP_SIGNALS, exit_status


class Interruption:
    """Whether the user has asked to stop."""

    requested = False
    """Set by the first signal."""
    number: int = signal.SIGINT
    """The signal."""
    spent = False
    """Set where no signal asked to stop, but the time that the runs were given is over."""

    def error(self, problem: str, hint: str) -> InterruptedTraining:
        """Make the error of what was stopped.

        Args:
            problem: What was stopped, and where.
            hint: What is kept, and how to go on.

        Returns:
            The error, with the exit status of the signal.
        """
        return InterruptedTraining(problem, hint, status=exit_status(self.number))


_active: list[Interruption] = []
"""The interruptions of the open contexts, so that a training within a sweep uses that of the sweep."""


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Within this context, the first signal sets ``requested``; a second one stops at once, as usual.

    The signals are those of :data:`attnlab.stop_signals.STOP_SIGNALS`, without SIGTERM and SIGHUP where they are
    ignored, as ``nohup`` does. In a thread other than the main one, signals are left unchanged.
    """
    if _active:
        yield _active[-1]
        return
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    previous = {
        number: handler
        for number, handler in handlers.items()
        if handler is not None and (number == signal.SIGINT or handler is not signal.SIG_IGN)
    }

    def handle(number: int, frame: FrameType | None) -> None:
        interruption.requested, interruption.number = True, number
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
