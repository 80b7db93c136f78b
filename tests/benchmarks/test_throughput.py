"""The sweep of eight runs and the hand-written loop: both run to their end."""

from __future__ import annotations

import pytest

from benchmarks.timing.throughput import Targets, eight_runs


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["every", "few"])
def test_both_run_and_are_compared(targets: Targets) -> None:
    measured = eight_runs(rounds=1, steps=2, processes=2, targets=targets)
    assert f"targets at {targets} position" in measured.name
    assert measured.goal == 2.2
    assert 0.01 < measured.median < 10
    assert measured.note == "2 steps, 2 processes, start and end included"
