"""The sweep of eight runs and the hand-written loop beside it: both run to their end, as they are told."""

from __future__ import annotations

import pytest

from benchmarks.timing.throughput import Asked, eight


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["every", "few"])
def test_both_run_and_are_compared(kind: Asked) -> None:
    measured = eight(rounds=1, steps=2, processes=2, kind=kind)
    assert f"{kind} position" in measured.name
    assert measured.goal == 2.2
    assert 0.01 < measured.median < 10
    assert measured.note == "2 steps, 2 processes, start and end included"
