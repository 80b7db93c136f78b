"""Ctrl-C is heard at the end of a step; a second one stops at once."""

from __future__ import annotations

import signal
import threading

import pytest

from attnlab.training.interruption import interruptible


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted(kind: signal.Signals) -> None:
    before = signal.getsignal(kind)
    with interruptible() as interruption:
        requested = [interruption.requested]
        signal.raise_signal(kind)
        requested.append(interruption.requested)
    assert requested == [False, True]
    assert signal.getsignal(kind) is before


def test_the_second_stops_at_once() -> None:
    with interruptible() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_put_back_after_a_failure() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_than_the_main_one_leaves_signals_alone() -> None:
    seen = []

    def listen() -> None:
        with interruptible() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
