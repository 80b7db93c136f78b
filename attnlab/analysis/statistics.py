"""Intervals over seeds, and summaries over levels: bootstrap, interquartile mean, probability of improvement, C50.

Seeds are the unit of replication: seeds are resampled within one cell, never across cells (a stratified bootstrap).
The level is expanded so that intervals of few seeds are not too narrow. Below five seeds the expansion does not
suffice, because no resample leaves the range of the observed values. The table gives the coverage of the 95 % interval
of one mean, where seeds vary normally, and where each seed either solves a level or stays at chance (half of them):

    seeds                2      3      5      10
    normal            50 %   75 %   92 %   94 %
    all or nothing    50 %   75 %   94 %   98 %

The difference of two normal cells is covered 89 % of the time with three seeds each and 94 % with five; the mean of a
ladder of eight levels 95 % with three.

Sources  Hesterberg, "What teachers should know about the bootstrap", The American Statistician 2015, section 5.3 (the
         expanded percentile interval); Satterthwaite, Biometrics Bulletin 1946 (the degrees of freedom where several
         cells vary); Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
         arXiv:2108.13264 (interquartile mean, probability of improvement, stratified bootstrap); Barlow et al.,
         "Statistical inference under order restrictions", 1972 (monotone fit, by its min-max formula).
Differs  From a plain percentile bootstrap in the expanded level. The arithmetic is written here, over all resamples
         at once and without scipy.stats, because importing scipy.stats takes longer than a report; tests compare each
         part with scipy's.
Letters  R resamples, N seeds of a cell, C cells of a curve, K ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlab.specs import Split

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Statistic = Callable[[list[Floats]], Floats]
"""Maps resampled cells, each RN, to one number for each resample, R."""
RESAMPLES = 1000
MANY = 50
"""With more cells than this, fewer resamples suffice: their mean is close to normal."""
LEVEL = 0.95
UNKNOWN: Interval = (math.nan, math.nan)
TINY = 1e-12
"""Bound on the rounding error of sums of shares."""


def intervals(cells: Sequence[Sequence[float]], resamples: int = RESAMPLES) -> list[Interval]:
    """Bootstrap the mean of each cell.

    Args:
        cells: The numbers of each cell, one per seed.
        resamples: How many resamples are drawn.

    Returns:
        The 95 % interval of each cell; nan where a cell holds fewer than two numbers.
    """
    result = [UNKNOWN] * len(cells)
    for size in sorted({len(cell) for cell in cells if len(cell) > 1}):
        indices = [index for index, cell in enumerate(cells) if len(cell) == size]
        values_CN = np.array([cells[index] for index in indices], dtype=np.float64)
        drawn_RN = _random(size).integers(0, size, (resamples, size))
        counts_RN = (drawn_RN[:, :, None] == np.arange(size)).sum(axis=1)
        tail = (1 - expanded(size)) / 2
        lows, highs = np.quantile(values_CN @ counts_RN.T / size, [tail, 1 - tail], axis=1)
        # The product of matrices rounds.
        inside = np.clip([lows, highs], values_CN.min(axis=1), values_CN.max(axis=1))
        for index, low, high in zip(indices, *inside.tolist(), strict=True):
            result[index] = (low, high)
    return result


@lru_cache
def expanded(size: float, degrees: float | None = None, level: float = LEVEL) -> float:
    """Compute the level of a percentile interval that has the coverage ``level``.

    Args:
        size: Seeds of a cell.
        degrees: Degrees of freedom; None takes those of one cell.
        level: The coverage that is wanted.

    Returns:
        The expanded level, above ``level``.

    Source: Hesterberg 2015, section 5.3.
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(size - 1 if degrees is None else degrees, (1 - level) / 2))
    return 1 - math.erfc(-math.sqrt(size / (size - 1)) * quantile / math.sqrt(2))


def interquartile_mean(strata: Sequence[Sequence[float]]) -> tuple[float, Interval]:
    """Average the middle half of all scores.

    Args:
        strata: The scores of each stratum, one per seed; seeds are resampled within each stratum.

    Returns:
        The mean and its 95 % interval over seeds.

    Source: Agarwal et al., arXiv:2108.13264.
    """

    def middle(drawn: list[Floats]) -> Floats:
        scores = np.concatenate(drawn, axis=1)
        count = scores.shape[1]
        cut = count // 4
        return np.partition(scores, [cut, count - cut - 1], axis=1)[:, cut : count - cut].mean(axis=1)

    return stratified(middle, strata)


def improvement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> tuple[float, Interval]:
    """Estimate the probability that a run of ours beats one of theirs, averaged over strata; ties count half.

    Args:
        ours: The scores of each stratum, one per seed.
        theirs: The scores to beat, by the same strata; a stratum that is empty on either side is left out.

    Returns:
        The probability and its 95 % interval over seeds.

    Source: Agarwal et al., arXiv:2108.13264.
    """
    pairs = [_ranks(x, y) for x, y in zip(ours, theirs, strict=True) if len(x) and len(y)]

    def mean(drawn: list[Floats]) -> Floats:
        ours_drawn, theirs_drawn = drawn[: len(pairs)], drawn[len(pairs) :]
        shares = np.zeros(len(drawn[0]))
        for x, y in zip(ours_drawn, theirs_drawn, strict=True):
            counts = 2 * (x.shape[1] + y.shape[1]) + 1
            mine_RK, other_RK = _counted(x, counts), _counted(y, counts)
            beaten = np.cumsum(other_RK, axis=1) - 0.5 * other_RK
            shares += (mine_RK * beaten).sum(axis=1) / (x.shape[1] * y.shape[1])
        return shares / len(pairs)

    return stratified(mean, [*(x for x, _ in pairs), *(y for _, y in pairs)])


def stratified(statistic: Statistic, strata: Sequence[Sequence[float] | Floats]) -> tuple[float, Interval]:
    """Bootstrap a statistic of several cells; each cell is resampled by itself.

    Args:
        statistic: Maps resampled cells to one number for each resample.
        strata: The numbers of each cell, one per seed; empty cells are left out.

    Returns:
        The statistic and its 95 % interval. The statistic is nan without cells; the interval is nan where a cell has
        one seed, because the variation between seeds is unknown there.
    """
    cells = [np.asarray(cell, dtype=np.float64) for cell in strata if len(cell)]
    if not cells:
        return math.nan, UNKNOWN
    value = float(statistic([cell[None] for cell in cells])[0])
    if min(map(len, cells)) < 2:
        return value, UNKNOWN
    return value, ends(statistic(resampled(cells)), _expanded(cells))


def resampled(cells: Sequence[Floats]) -> list[Floats]:
    """Resample the seeds of each cell with replacement.

    Args:
        cells: The numbers of each cell, N.

    Returns:
        The resamples of each cell, RN; where there are very many cells, R is smaller.
    """
    random = _random(len(cells))
    resamples = min(RESAMPLES, max(RESAMPLES // 2, MANY * RESAMPLES // len(cells)))
    return [cell[random.integers(0, len(cell), (resamples, len(cell)), dtype=np.int32)] for cell in cells]


def ends(drawn: Floats, level: float) -> Interval:
    """Compute the percentile interval of resampled statistics.

    Args:
        drawn: The statistics, R; some may be infinite, and nan is left out.
        level: The level of the interval.

    Returns:
        The lower and the upper end.
    """
    ordered = np.sort(drawn[~np.isnan(drawn)])
    if not len(ordered):
        return UNKNOWN
    below = min(len(ordered) - 1, math.floor(len(ordered) * (1 - level) / 2))
    return float(ordered[below]), float(ordered[-1 - below])


def decreasing(curves_RC: Floats) -> Floats:
    """Fit nonincreasing curves by least squares.

    Args:
        curves_RC: The curves.

    Returns:
        The fitted curves, RC.

    Source: Barlow et al. 1972, the min-max formula.
    """
    curves_CR = curves_RC.T
    sums = np.concatenate([np.zeros_like(curves_CR[:1]), np.cumsum(curves_CR, axis=0)])
    fitted_CR = np.full_like(curves_CR, np.inf)
    for first in range(len(curves_CR)):
        means = (sums[first + 1 :] - sums[first]) / np.arange(1, len(sums) - first)[:, None]
        largest = np.maximum.accumulate(means[::-1], axis=0)[::-1]
        np.minimum(fitted_CR[first:], largest, out=fitted_CR[first:])
    return fitted_CR.T


def crossings(complexities: Sequence[float], fitted_RC: Floats, level: float) -> Floats:
    """Find where nonincreasing curves cross a level; they are linear in the logarithm of complexity between levels.

    Args:
        complexities: The levels of the ladder, rising; from a first level of 0 the curves are linear in complexity.
        fitted_RC: The accuracy on each level, as a share of the way from chance to 1.
        level: The share that is crossed: 0.5 for C50, 0.9 for C90.

    Returns:
        The complexities, R; infinite where a curve never falls that low, 0 where it is below on the first level.
    """
    levels = np.asarray(complexities, dtype=np.float64)
    positions = np.log(levels) if levels[0] > 0 else levels
    under = fitted_RC < level - TINY
    after = np.maximum(1, under.argmax(axis=1))
    rows = np.arange(len(fitted_RC))
    if len(levels) > 1:
        high, low = fitted_RC[rows, after - 1], fitted_RC[rows, after]
        part = np.clip((high - level) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
        result = positions[after - 1] + part * (positions[after] - positions[after - 1])
        result = np.exp(result) if levels[0] > 0 else result
    else:
        result = np.zeros(len(fitted_RC))
    return np.where(under[:, 0], 0.0, np.where(under.any(axis=1), result, math.inf))


def capacity(complexities: Sequence[float], cells: Sequence[Sequence[float]], level: float) -> tuple[float, Interval]:
    """Fit the capacity: C50 or C90 of a monotone fit to the means of the cells.

    Args:
        complexities: The levels of the ladder, rising.
        cells: The accuracy of each seed of each level, as a share of the way from chance to 1; empty levels are left
            out.
        level: The share that is crossed: 0.5 for C50, 0.9 for C90.

    Returns:
        The complexity and its 95 % interval over seeds.
    """
    return capacities(complexities, cells, (level,))[0]


def capacities(
    complexities: Sequence[float], cells: Sequence[Sequence[float]], levels: Sequence[float]
) -> list[tuple[float, Interval]]:
    """Fit where the monotone fit crosses several levels; see :func:`capacity`.

    Args:
        complexities: The levels of the ladder, rising.
        cells: The accuracy of each seed of each level, as a share of the way from chance to 1; empty levels are left
            out.
        levels: The shares that are crossed.

    Returns:
        The complexity and its 95 % interval over seeds, for each share; nan without any run.
    """
    full = [(x, np.asarray(cell, dtype=np.float64)) for x, cell in zip(complexities, cells, strict=True) if len(cell)]
    if not full:
        return [(math.nan, UNKNOWN)] * len(levels)
    xs, seeds = [x for x, _ in full], [cell for _, cell in full]
    fitted_1C = decreasing(np.array([[cell.mean() for cell in seeds]]))
    values = [float(crossings(xs, fitted_1C, level)[0]) for level in levels]
    if min(map(len, seeds)) < 2:
        return [(value, UNKNOWN) for value in values]
    means_CR = np.stack([cell.mean(axis=1) for cell in resampled(seeds)])
    fitted_RC, coverage = decreasing(means_CR.T), _expanded(seeds)
    return [
        (value, ends(crossings(xs, fitted_RC, level), coverage)) for value, level in zip(values, levels, strict=True)
    ]


def _expanded(cells: Sequence[Floats]) -> float:
    """The expanded level of a statistic of several cells, with Satterthwaite's degrees of freedom."""
    sizes = np.array([len(cell) for cell in cells], dtype=np.float64)
    parts = np.array([cell.var(ddof=1) for cell in cells]) / sizes
    if not parts.sum() > 0:
        return LEVEL
    shares = parts / parts.sum()
    remaining = float((shares * (sizes - 1) / sizes).sum())  # the share of the variance that resamples have
    return expanded(1 / (1 - remaining), 1 / float((shares**2 / (sizes - 1)).sum()))


def _ranks(x: Sequence[float], y: Sequence[float]) -> tuple[Floats, Floats]:
    """The ranks of two samples among both: their order is unchanged, and all strata are on one scale."""
    pooled = np.array([*x, *y], dtype=np.float64)
    ranks = (pooled[:, None] > pooled).sum(axis=1) + 0.5 * (pooled[:, None] == pooled).sum(axis=1)
    return ranks[: len(x)], ranks[len(x) :]


def _counted(ranks_RN: Floats, counts: int) -> Floats:
    """How often each rank, doubled to be an integer, was drawn in each resample, RK."""
    rows = np.arange(len(ranks_RN))[:, None]
    positions = (rows * counts + 2 * ranks_RN).astype(np.int64).ravel()
    return np.bincount(positions, minlength=len(rows) * counts).reshape(len(rows), counts).astype(np.float64)


def _random(*key: Any) -> np.random.Generator:
    """A generator of the bootstrap stream: the same cells give the same interval."""
    return np.random.default_rng([int(Split.BOOTSTRAP), *map(int, key)])
