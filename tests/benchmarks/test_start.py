"""Peak memory is that of the run, not of the process that started it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.timing.start import memory


@pytest.mark.slow
def test_the_memory_of_a_run_is_its_own() -> None:
    held = np.ones(200_000_000)  # 1.6 GB
    found = memory()
    assert held[-1] == 1
    assert found.unit == "MB"
    assert 100 < found.median < 1000
