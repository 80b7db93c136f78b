"""Medians of times to solve against lifelines."""

from __future__ import annotations

import numpy as np
import pytest

from attnlab.analysis.time_to_solve import SolveTimes

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("seed", range(20))
def test_medians_and_intervals_are_those_of_lifelines(seed: int) -> None:
    lifelines = pytest.importorskip("lifelines")
    utils = pytest.importorskip("lifelines.utils")
    rng = np.random.default_rng(seed)
    times = rng.integers(1, 30, 12).astype(float)
    budgets = rng.integers(5, 40, 12).astype(float)
    solved = times <= budgets
    # One run is stopped before any is solved: from there on both have Greenwood's interval. One is never solved, for at
    # a survival of 0 the interval is not defined: there lifelines ends it, and we do not.
    times, solved = np.minimum(times, budgets), solved & (np.arange(12) > 1)
    times[:2] = 0.5, 50.0
    fitted = lifelines.KaplanMeierFitter().fit(times, solved)
    ((low, high),) = utils.median_survival_times(fitted.confidence_interval_).to_numpy()
    ours = SolveTimes(tuple(times.tolist()), tuple(solved.tolist()))
    assert ours.median == fitted.median_survival_time_
    assert ours.interval == (low, high)
    assert ours.interval_kind == "brookmeyer-crowley"
