"""The first signal requests a stop at the end of a step; a second one stops at once."""

from __future__ import annotations

import signal
import threading

import pytest

from attnlab.training.interruption import interruptible


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_is_a_request(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with interruptible() as interruption:
        requested = [interruption.requested]
        signal.raise_signal(number)
        requested.append(interruption.requested)
    assert requested == [False, True]
    assert signal.getsignal(number) is before
    assert interruption.error("Interrupted.", "").status == status


def test_an_ignored_hangup_stays_ignored() -> None:
    """``nohup`` ignores it, so that a program outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert not interruption.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_stops_at_once() -> None:
    with interruptible() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_other_than_the_main_one_leaves_signals_unchanged() -> None:
    seen = []

    def enter() -> None:
        with interruptible() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
