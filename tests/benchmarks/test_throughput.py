"""The sweep of eight runs and the hand-written loop beside it: both run to their end, as they are told."""

from __future__ import annotations

import pytest

from benchmarks.timing.throughput import Asked, eight


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["every", "few"])
def test_both_run_and_are_compared(asked: Asked) -> None:
    found = eight(rounds=1, steps=2, processes=2, asked=asked)
    assert f"{asked} position" in found.name
    assert found.goal == 2.2
    assert 0.01 < found.median < 10
    assert found.note == "2 steps, 2 processes, start and end included"
