"""SIGTERM and SIGHUP are heard like Ctrl-C, and what is ignored stays ignored."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from attnlab.errors import InterruptedTraining
from attnlab.stop_signals import STOP_SIGNALS, exit_status, signal_of, stop_requests


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_every_stop_signal_raises_an_interrupt_that_says_which(number: signal.Signals, status: int) -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    with pytest.raises(KeyboardInterrupt) as caught, stop_requests():
        signal.raise_signal(number)
    assert exit_status(signal_of(caught.value)) == status
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_signals_are_left_unchanged() -> None:
    seen = []

    def enter() -> None:
        with stop_requests():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_the_error_keeps_its_status() -> None:
    error = InterruptedTraining("Stopped.", status=143)
    assert (error.at("a.csv").status, error.at("a.csv").where) == (143, "a.csv")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_a_finalizer_loses_is_raised_again(number: signal.Signals) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(number)  # Python ignores what a finalizer raises

    def finalize_and_go_on() -> None:
        Finalized()
        for _ in range(200):  # a signal that is raised again interrupts no call that waits already
            time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt) as caught, stop_requests():
        finalize_and_go_on()
    assert signal_of(caught.value) == number


def test_other_exceptions_of_finalizers_are_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finalized:
        def __del__(self) -> None:
            raise ValueError("mine")

    told: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_value))
    with stop_requests():
        Finalized()
    assert [str(one) for one in told] == ["mine"]
