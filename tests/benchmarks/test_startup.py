"""Peak memory is that of the run, not of the process that started it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.timing.startup import memory


@pytest.mark.slow
def test_the_memory_of_a_run_is_its_own() -> None:
    array = np.ones(200_000_000)  # 1.6 GB
    measured = memory()
    assert array[-1] == 1
    assert measured.unit == "MB"
    assert 100 < measured.median < 1000
