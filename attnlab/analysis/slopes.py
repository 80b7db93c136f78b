"""Slopes over levels: by how much a metric, or the lead of one variant over another, grows from one level to the next.

Each seed has one slope: that of the line of least squares through its numbers on all levels, over the places of the
levels (0, 1, 2, ...). The estimate is the median over seeds, and its interval that of the sign test, which is exact at
any number of seeds and asks nothing of the distribution: it lies between two of the slopes, in their order. Fewer than
six seeds bound no median. An interval of the mean would have to allow for the steepest possible slope in every seed
that was not run, and ten seeds that agree would decide nothing.

Source   the sign test and its interval: Conover, "Practical nonparametric statistics", 3rd edition, 1999, sections 3.2
         and 3.4; the interval is held to that of ``scipy.stats.quantile_test`` in the tests.
Letters  N seeds, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from attnlab.analysis.statistics import LEVEL, Interval, Sample

ANYTHING: Interval = (-math.inf, math.inf)


def seed_slopes(ours: Sequence[Sample], theirs: Sequence[Sample] = ()) -> Sample:
    """Fit a line over the levels of each seed.

    >>> seed_slopes([Sample([0.25, 0.1], seeds=[0, 1]), Sample([0.75], seeds=[0])])
    Sample(values=[0.5], bounds=None, seeds=[0])

    Args:
        ours: One number for each seed, of each level in their order; two levels at least.
        theirs: Numbers to subtract, of the same levels; empty subtracts nothing.

    Returns:
        The slope of each seed that has a number everywhere, by the level.
    """
    sides = [[_by_seed(level) for level in side] for side in (ours, theirs) if side]
    seeds = sorted(set.intersection(*(set(numbers) for side in sides for numbers in side)))
    own_NL, *others = [np.array([[numbers[seed] for numbers in side] for seed in seeds]) for side in sides]
    for other_NL in others:
        own_NL = own_NL - other_NL
    places_L = np.arange(len(ours)) - (len(ours) - 1) / 2
    slopes = (own_NL.reshape(len(seeds), len(ours)) @ places_L / (places_L @ places_L)).tolist()
    return Sample(slopes, None, seeds)


def median(sample: Sample) -> tuple[float, Interval]:
    """Compute the median over seeds, with the interval of the sign test.

    >>> median(Sample([0.1, 0.2, 0.3, 0.4, 0.5, 0.9], None, [*range(6)]))
    (0.35, (0.1, 0.9))

    Args:
        sample: One number for each seed.

    Returns:
        The median, nan without seeds, and its 95 % interval; infinite ends with fewer than six seeds.
    """
    if not len(sample.values):
        return math.nan, ANYTHING
    values = np.sort(np.asarray(sample.values, dtype=np.float64))
    outside = _outside(len(values))
    ends = ANYTHING if outside is None else (float(values[outside]), float(values[-1 - outside]))
    return float(np.median(values)), ends


def _outside(count: int) -> int | None:
    """How many of the sorted numbers lie outside on each side, at most; None where not even all of them cover."""
    from scipy.special import bdtr

    outside = None
    while bdtr(0 if outside is None else outside + 1, count, 0.5) <= (1 - LEVEL) / 2:
        outside = 0 if outside is None else outside + 1
    return outside


def _by_seed(sample: Sample) -> dict[int, float]:
    return dict(zip(sample.seed_list, sample.values, strict=True))
