"""The command line, run in this process as a user runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from attnlab.cli import main
from attnlab.rendering import waiting


class Result(NamedTuple):
    """The exit status of a command and what it printed."""

    status: int
    out: str
    error: str


Command = Callable[..., Result]
TINY = ("--task", "copy", "--complexity", "2", "--width", "8", "--steps", "3", "--device", "cpu")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run ``attnlab WORDS`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(waiting, "SECONDS", 1000.0)  # on a slow machine too, no line tells of what lasts

    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["attnlab", *words])
        status: object = 0
        try:
            main()
        except SystemExit as error:
            status = error.code
        written = capsys.readouterr()
        return Result(int(str(status or 0)), written.out, written.err)

    return run
