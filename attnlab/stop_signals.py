"""The signals that ask a program to end, heard alike: Ctrl-C, SIGTERM, and SIGHUP where it is not ignored."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.02
"""Seconds until a signal is raised again that was lost."""
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""SIGINT is Ctrl-C; SIGHUP tells that the terminal is gone, and Windows has none."""


class StopRequest(KeyboardInterrupt):
    """A signal other than Ctrl-C asks this process to end; what heeds ``KeyboardInterrupt`` heeds it.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_status(number: int) -> int:
    """The exit status of a program that a signal has ended, as shells count it.

    >>> exit_status(signal.SIGINT), exit_status(signal.SIGTERM)
    (130, 143)

    Args:
        number: The signal.

    Returns:
        128 more than its number.
    """
    return 128 + number


def signal_of(stop: KeyboardInterrupt) -> int:
    """Tell which signal an exception stands for.

    Args:
        stop: The exception.

    Returns:
        Its number.
    """
    return stop.number if isinstance(stop, StopRequest) else signal.SIGINT


def signal_name(number: int) -> str:
    """Name a signal as users know it.

    >>> signal_name(signal.SIGINT), signal_name(signal.SIGTERM)
    ('Ctrl-C', 'SIGTERM')

    Args:
        number: The signal.

    Returns:
        Its name.
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextmanager
def stop_requests() -> Iterator[None]:
    """Within this context, SIGTERM and SIGHUP raise :class:`StopRequest` as Ctrl-C raises ``KeyboardInterrupt``.

    A signal that is ignored stays ignored: ``nohup`` ignores SIGHUP. In a thread other than the main one, signals are
    left unchanged.

    Where such an exception comes while compiled code calls Python, as for a finalizer or the search of a pattern, it
    may be lost: Python prints it and goes on. It is then raised once more, a moment later.

    Yields:
        Nothing.

    Raises:
        StopRequest: Such a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise StopRequest(number)

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            hook(lost)
            return
        again = threading.Timer(AGAIN, _thread.interrupt_main, [signal_of(lost.exc_value)])
        again.daemon = True
        again.start()

    hook = sys.unraisablehook
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS if number != signal.SIGINT}
    changed = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    try:
        for number in changed:
            signal.signal(number, handle)
        sys.unraisablehook = unraisable
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in changed.items():
            signal.signal(number, handler)
