"""Sweeps that are killed at random moments: a handful of kills here, 300 behind ``-m slow``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.fuzzing import stops
from tests.fuzzing.kills import campaign


def test_kills_of_one_process_and_of_a_pool_lose_and_leave_nothing(tmp_path: Path) -> None:
    figures = campaign(tmp_path, 3, 3, ("inline", "processes:2"), kills_per_sweep=2)
    assert sum(figures.kills.values()) == 3
    assert figures.sweeps >= 2


@pytest.mark.slow
def test_three_hundred_kills_lose_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = campaign(tmp_path, 300, 0, ("inline", "inline", "processes:2"))
    show(figures, capsys)
    assert sum(figures.kills.values()) == 300
    assert figures.resumed > 100
    assert figures.late <= 2.0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_kills_of_a_sweep_on_ray_lose_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = campaign(tmp_path, 12, 1, ("ray:2",))
    show(figures, capsys)
    assert sum(figures.kills.values()) == 12
    assert figures.late <= 2.0


@pytest.mark.slow
def test_commands_that_are_stopped_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = stops.campaign(tmp_path, 60, 0)
    show(stops.figures(seen), capsys)
    assert sum(count for name, count in seen.items() if not name.startswith("done")) >= 20


def show(figures: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the figures whether the test passes or not."""
    with capsys.disabled():
        sys.stderr.write(f"\n{figures}\n")
