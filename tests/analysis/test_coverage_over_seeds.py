"""Coverage of the intervals over seeds, by simulation; ``benchmarks/coverage_over_seeds.py`` has more of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnlab.analysis.statistics import TAIL
from benchmarks.simulated_seeds import (
    LOGNORMAL,
    MEANS,
    PAIRS,
    Outcomes,
    normal,
    of_claims,
    of_differences,
    of_ladders,
    of_means,
)

BOUNDED = [one for one in MEANS if one.bounded]


def at_most(share: float, repetitions: int) -> float:
    """What a share that is no larger than this is observed to be, but once in a thousand simulations."""
    return share + 3.1 * math.sqrt(share * (1 - share) / repetitions)


@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
@pytest.mark.parametrize("outcomes", BOUNDED, ids=lambda one: one.name)
def test_intervals_of_bounded_means_cover(outcomes: Outcomes, seeds: int) -> None:
    observed = of_means(outcomes, seeds, 1000, np.random.default_rng(seeds))
    assert max(observed.below, observed.above) <= at_most(TAIL, 1000)
    assert observed.width < 1


@pytest.mark.parametrize(("seeds", "stated"), [(3, 0.82), (5, 0.81), (10, 0.85), (20, 0.88)])
def test_intervals_of_unbounded_means_cover_as_the_docstring_states(seeds: int, stated: float) -> None:
    observed = of_means(normal(0.0, 1.0, bounded=False), seeds, 2000, np.random.default_rng(seeds))
    assert observed.covered == pytest.approx(0.95, abs=0.015)
    observed = of_means(LOGNORMAL, seeds, 2000, np.random.default_rng(seeds))
    assert observed.covered == pytest.approx(stated, abs=0.025)


@pytest.mark.parametrize("together", [0.0, 0.8])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_intervals_of_differences_cover(pair: tuple[Outcomes, Outcomes], together: float) -> None:
    for seeds in (3, 5, 10):
        observed = of_differences(pair, together, seeds, 200, np.random.default_rng(seeds))
        assert max(observed.below, observed.above) <= at_most(TAIL, 200)


def test_seeds_with_the_same_luck_make_a_difference_surer() -> None:
    pair = PAIRS[0]
    own, common = (of_differences(pair, together, 10, 100, np.random.default_rng(1)).width for together in (0.0, 1.0))
    assert common < 0.7 * own


@pytest.mark.parametrize("together", [0.0, 0.8])
@pytest.mark.parametrize("kind", ["mean", "interquartile mean", "P(better)"])
def test_intervals_of_summaries_of_a_ladder_cover(kind: str, together: float) -> None:
    for seeds in (3, 5, 10):
        observed = of_ladders(kind, together, seeds, 200, np.random.default_rng(seeds))
        assert max(observed.below, observed.above) <= at_most(TAIL, 200)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_claims_are_seldom_decided_wrongly(seeds: int) -> None:
    for share in of_claims(seeds, 300, np.random.default_rng(seeds)).values():
        assert share <= at_most(0.05, 300)
