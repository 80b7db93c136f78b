"""Two hundred commands that nobody would type: each ends with an exit status, and none with a traceback."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.cli.conftest import Command
from tests.fuzzing.option_strings import commands

CPU_SECONDS = 5.0
"""Time of the processor after which a command hangs, whatever else the machine does."""


class Hangs(BaseException):
    """A command takes longer; no ``except Exception`` hides it."""


def hang(*_: object) -> None:
    raise Hangs


@pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="the processor time of a command cannot be limited")
def test_every_command_ends_with_a_status_and_without_a_traceback(command: Command, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGPROF, hang)

    @settings(
        max_examples=200,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(commands())
    def run(words: list[str]) -> None:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            result = command(*words)  # an exception other than SystemExit fails the test, with the words
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        assert result.status in (0, 1, 2)
        assert "Traceback" not in result.error
        assert result.status == 0 or result.error or result.out

    try:
        run()
    finally:
        signal.signal(signal.SIGPROF, before)
