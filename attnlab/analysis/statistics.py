"""Intervals over seeds, and summaries over levels: bootstrap, interquartile mean, probability of improvement, C50.

Seeds are the unit of replication: whatever is resampled is resampled among the seeds of one cell, never across cells
(a stratified bootstrap). The level is expanded so that few seeds do not look surer than they are; below five seeds
nothing helps, for no resample leaves the range of what was seen. How often the 95 % interval of one mean covers it,
where seeds vary normally, and where each seed either solves a level or learns nothing of it (half of them do):

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
Differs  From a plain percentile bootstrap in the expanded level. The arithmetic stands here, over all resamples at
         once and without scipy.stats, whose import takes longer than a report; tests hold each piece to scipy's.
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
"""Resampled cells, each RN, to a number for each resample, R."""
RESAMPLES = 1000
MANY = 50
"""Cells from which on fewer resamples do: their mean is close to normal."""
LEVEL = 0.95
UNKNOWN: Interval = (math.nan, math.nan)
TINY = 1e-12
"""What sums of shares may be off by rounding."""


def intervals(cells: Sequence[Sequence[float]], resamples: int = RESAMPLES) -> list[Interval]:
    """The bootstrap interval of the mean of each cell; nan where a cell holds fewer than two numbers."""
    result = [UNKNOWN] * len(cells)
    for size in sorted({len(cell) for cell in cells if len(cell) > 1}):
        places = [place for place, cell in enumerate(cells) if len(cell) == size]
        stored = np.array([cells[place] for place in places], dtype=np.float64)
        drawn_RN = _random(size).integers(0, size, (resamples, size))
        times_RN = (drawn_RN[:, :, None] == np.arange(size)).sum(axis=1)
        tail = (1 - expanded(size)) / 2
        lows, highs = np.quantile(stored @ times_RN.T / size, [tail, 1 - tail], axis=1)
        inside = np.clip([lows, highs], stored.min(axis=1), stored.max(axis=1))  # a product of matrices rounds
        for place, low, high in zip(places, *inside.tolist(), strict=True):
            result[place] = (low, high)
    return result


@lru_cache
def expanded(size: float, degrees: float | None = None, level: float = LEVEL) -> float:
    """The level to ask of a percentile interval so that it covers as often as ``level`` says.

    Args:
        size: Seeds of a cell.
        degrees: Degrees of freedom; None takes those of one cell.
        level: How often the interval shall cover.
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(size - 1 if degrees is None else degrees, (1 - level) / 2))
    return 1 - math.erfc(-math.sqrt(size / (size - 1)) * quantile / math.sqrt(2))


def interquartile_mean(strata: Sequence[Sequence[float]]) -> tuple[float, Interval]:
    """The mean of the middle half of all scores, with its interval: seeds are resampled within each stratum."""

    def middle(drawn: list[Floats]) -> Floats:
        scores = np.concatenate(drawn, axis=1)
        count = scores.shape[1]
        cut = count // 4
        return np.partition(scores, [cut, count - cut - 1], axis=1)[:, cut : count - cut].mean(axis=1)

    return stratified(middle, strata)


def improvement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> tuple[float, Interval]:
    """How probably a run of ours beats one of theirs, averaged over strata (ties count half), with its interval."""
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
    """A statistic of several cells, with its bootstrap interval: each cell is resampled by itself.

    Returns:
        The statistic and its interval; nan where there is nothing, or where a cell has one seed and none knows how
        others would vary.
    """
    stored = [np.asarray(cell, dtype=np.float64) for cell in strata if len(cell)]
    if not stored:
        return math.nan, UNKNOWN
    value = float(statistic([cell[None] for cell in stored])[0])
    if min(map(len, stored)) < 2:
        return value, UNKNOWN
    return value, ends(statistic(resampled(stored)), _expanded(stored))


def resampled(cells: Sequence[Floats]) -> list[Floats]:
    """Resamples of each cell, RN: seeds of that cell, with replacement; of very many cells, fewer."""
    random = _random(len(cells))
    resamples = min(RESAMPLES, max(RESAMPLES // 2, MANY * RESAMPLES // len(cells)))
    return [cell[random.integers(0, len(cell), (resamples, len(cell)), dtype=np.int32)] for cell in cells]


def ends(drawn: Floats, level: float) -> Interval:
    """The percentile interval of resampled statistics, some of which may be infinite."""
    ordered = np.sort(drawn[~np.isnan(drawn)])
    if not len(ordered):
        return UNKNOWN
    below = min(len(ordered) - 1, math.floor(len(ordered) * (1 - level) / 2))
    return float(ordered[below]), float(ordered[-1 - below])


def decreasing(curves_RC: Floats) -> Floats:
    """The closest curves that nowhere rise (least squares), RC."""
    curves_CR = curves_RC.T
    sums = np.concatenate([np.zeros_like(curves_CR[:1]), np.cumsum(curves_CR, axis=0)])
    fitted_CR = np.full_like(curves_CR, np.inf)
    for first in range(len(curves_CR)):
        means = (sums[first + 1 :] - sums[first]) / np.arange(1, len(sums) - first)[:, None]
        largest = np.maximum.accumulate(means[::-1], axis=0)[::-1]
        np.minimum(fitted_CR[first:], largest, out=fitted_CR[first:])
    return fitted_CR.T


def crossings(complexities: Sequence[float], fitted_RC: Floats, level: float) -> Floats:
    """Where curves that nowhere rise cross a level: linear between levels in the logarithm of complexity.

    Args:
        complexities: Levels, rising.
        fitted_RC: How far each level is on the way from chance to 1.
        level: 0.5 for C50, 0.9 for C90.

    Returns:
        The complexities; infinite if a curve never falls that low, 0 if it is below already on the first level.
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
    """C50 or C90 of a monotone fit to the means of the cells, with its interval over seeds.

    Args:
        complexities: Levels, rising.
        cells: How far each seed of each level is on the way from chance to 1; levels without any are left out.
        level: 0.5 for C50, 0.9 for C90.
    """
    return capacities(complexities, cells, (level,))[0]


def capacities(
    complexities: Sequence[float], cells: Sequence[Sequence[float]], levels: Sequence[float]
) -> list[tuple[float, Interval]]:
    """Where a monotone fit crosses several levels, each with its interval over seeds."""
    saved = [(x, np.asarray(cell, dtype=np.float64)) for x, cell in zip(complexities, cells, strict=True) if len(cell)]
    if not saved:
        return [(math.nan, UNKNOWN)] * len(levels)
    rungs, stored = [x for x, _ in saved], [cell for _, cell in saved]
    middle = decreasing(np.array([[cell.mean() for cell in stored]]))
    values = [float(crossings(rungs, middle, level)[0]) for level in levels]
    if min(map(len, stored)) < 2:
        return [(value, UNKNOWN) for value in values]
    means_CR = np.stack([cell.mean(axis=1) for cell in resampled(stored)])
    fitted, sure = decreasing(means_CR.T), _expanded(stored)
    return [(value, ends(crossings(rungs, fitted, level), sure)) for value, level in zip(values, levels, strict=True)]


def _expanded(stored: Sequence[Floats]) -> float:
    """The expanded level of a statistic of several cells: degrees of freedom as Satterthwaite counts them."""
    sizes = np.array([len(cell) for cell in stored], dtype=np.float64)
    parts = np.array([cell.var(ddof=1) for cell in stored]) / sizes
    if not parts.sum() > 0:
        return LEVEL
    shares = parts / parts.sum()
    narrowed = float((shares * (sizes - 1) / sizes).sum())  # of the variance, this much is left in resamples
    return expanded(1 / (1 - narrowed), 1 / float((shares**2 / (sizes - 1)).sum()))


def _ranks(x: Sequence[float], y: Sequence[float]) -> tuple[Floats, Floats]:
    """The ranks of two samples among both: what beats what is kept, and strata vary on one scale."""
    pooled = np.array([*x, *y], dtype=np.float64)
    ranks = (pooled[:, None] > pooled).sum(axis=1) + 0.5 * (pooled[:, None] == pooled).sum(axis=1)
    return ranks[: len(x)], ranks[len(x) :]


def _counted(ranks_RN: Floats, counts: int) -> Floats:
    """How often each rank, doubled to be whole, was drawn in each resample, RK."""
    rows = np.arange(len(ranks_RN))[:, None]
    positions = (rows * counts + 2 * ranks_RN).astype(np.int64).ravel()
    return np.bincount(positions, minlength=len(rows) * counts).reshape(len(rows), counts).astype(np.float64)


def _random(*words: Any) -> np.random.Generator:
    """A generator of the bootstrap stream: the same cells give the same interval."""
    return np.random.default_rng([int(Split.BOOTSTRAP), *map(int, words)])
