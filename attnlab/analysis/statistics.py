"""Intervals over seeds: means, differences, ratios, interquartile means, probabilities of improvement.

Seeds are the unit of replication. There are two kinds of intervals, and the bounds of a metric decide which is taken:

    bounded    Gaffke's, in its Dirichlet form: accuracy lies in [chance, 1], or in [0, 1] where a run is below chance;
               shares lie in [0, 1], steps in [0, max_steps]. It covers at any number of seeds whatever the outcomes
               are: runs that all agree leave an interval, because those that were not run might differ. Where every
               run is at one of the bounds it is Clopper and Pearson's interval, computed exactly.
    unbounded  Student's t (Fieller's interval for a ratio): loss, perplexity, seconds, diagnostics. No interval covers
               the mean of every unbounded distribution. Logarithms are not taken: they would give an interval of the
               median.

Observed coverage of 95 % intervals in percent, and their mean width where the metric runs from 0.2 to 1, in 1,000
simulations of each distribution (``python -m benchmarks.coverage_over_seeds``); P(solve) is 0.05 to 0.95:

    seeds                        3                  5                  10                 20
    solves or guesses      99-100  0.59-0.68  97-100  0.45-0.60  97-99   0.30-0.48  96-99   0.19-0.36
    the same, with noise   99-100  0.60-0.74  99-100  0.45-0.64  98-100  0.31-0.51  97-100  0.20-0.36
    solves or in between   98-100  0.57-0.62  99-100  0.43-0.50  98-100  0.27-0.37  98-99   0.16-0.25
    skewed towards 1       100     0.58       99      0.43       99      0.29       99      0.17
    normal, narrow         100     0.57       100     0.41       100     0.26       100     0.14
    difference of two      98-100  1.00-1.23  99-100  0.70-1.00  97-100  0.40-0.74  97-100  0.21-0.53
    t of a normal          94                 95                 95                 95
    t of a lognormal       82                 81                 85                 88

More than 99 % is the price of covering everywhere: five runs near 0.9 look alike whether all runs are near 0.9 or one
in five fails, and the interval covers the second case too. No miss of a bounded interval was more frequent than its
2.5 % on either side, beyond the error of the simulation. The t interval of a skewed unbounded metric is too narrow.

Sources  :mod:`attnlab.analysis._draws` for the bounded ones; Clopper and Pearson, Biometrika 1934; Fieller, "Some
         problems in interval estimation", Journal of the Royal Statistical Society B 1954 (the ratio of two means);
         Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", arXiv:2108.13264
         (interquartile mean, probability of improvement).
Differs  Agarwal et al. resample runs; here their weights are drawn, with a pseudo-observation at a bound in each cell.
Letters  R draws, N seeds of a cell, C cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from attnlab.analysis._draws import (
    KEPT,
    SHARE,
    Floats,
    Interval,
    Sample,
    Weights,
    draws_per_row,
    exponentials,
    lower_limit,
    upper_limit,
)

__all__ = ["LEVEL", "SHARE", "TINY", "UNKNOWN", "Floats", "Interval", "Sample", "draws_per_row"]
LEVEL: Final = 0.95
MIN_SEEDS: Final = 3
"""With fewer seeds there is no interval of 95 %: two numbers have a range, which is told as one."""
TAIL: Final = (1 - LEVEL) / 2
CELL_DRAWS = 4000
"""Draws for the interval of a single cell."""
BLOCK_CELLS: Final = 512
"""Cells that are drawn at once: 16 MB of draws."""
UNKNOWN: Interval = (math.nan, math.nan)
MOST_SHARES: Final = 2**24
"""Shares of seeds that are kept from one variant to the next at most: 128 MB."""
SIDES: Final = ("left", "right")
TINY = 1e-12
"""Bound on the rounding error of sums of shares."""


def average(numbers: Sequence[float]) -> float:
    """Average numbers such that equal ones have themselves as their mean, however many they are.

    >>> average([0.658951] * 30), average([0.1, 0.2, 0.3]) == average([0.3, 0.2, 0.1]), average([])
    (0.658951, True, nan)

    Args:
        numbers: The numbers.

    Returns:
        The mean, in whatever order the numbers are; nan without one.
    """
    if not len(numbers):
        return math.nan
    first = float(numbers[0])
    if all(number == first for number in numbers):
        return first  # a sum of floats, divided by their number, may be another float
    try:
        return math.fsum(numbers) / len(numbers)
    except (OverflowError, ValueError):  # the sum is beyond floats, or of both infinities
        return float(sum(number / len(numbers) for number in numbers))


def intervals(samples: Sequence[Sample]) -> list[Interval]:
    """Compute the interval of the mean of each cell by itself.

    Args:
        samples: The cells.

    Returns:
        The 95 % interval of each mean; nan where a cell holds fewer than :data:`MIN_SEEDS` numbers.
    """
    found = LazyIntervals(samples)
    return [found[index] for index in range(len(samples))]


class LazyIntervals:
    """The interval of the mean of each of many cells by itself, computed when it is first asked for.

    Cells whose intervals are drawn are computed in blocks of :data:`BLOCK_CELLS`.

    Args:
        samples: The cells.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._known: dict[int, Interval] = {}
        self._drawn: dict[int, list[int]] = {}  # by number of seeds
        self._places: dict[int, int] = {}
        for index, (values, bounds, _) in enumerate(samples):
            if len(values) < MIN_SEEDS:
                self._known[index] = UNKNOWN
            elif bounds is not None and not all(value in bounds for value in values):
                same = self._drawn.setdefault(len(values), [])
                self._places[index] = len(same)
                same.append(index)

    def __getitem__(self, index: int) -> Interval:
        """The 95 % interval of a cell, by its place; nan where it holds fewer than :data:`MIN_SEEDS` numbers."""
        if index not in self._known:
            if index in self._places:
                self._draw(len(self._samples[index].values), self._places[index] // BLOCK_CELLS)
            else:
                self._known[index] = self._exact(self._samples[index])
        return self._known[index]

    def _exact(self, sample: Sample) -> Interval:
        """The interval of an unbounded cell, or of one whose numbers are all at the bounds."""
        values, bounds, _ = sample
        if bounds is None:
            return _student([sample], [])[1]
        low, high = clopper_pearson(sum(value == bounds[1] for value in values), len(values))
        return bounds[0] + low * (bounds[1] - bounds[0]), bounds[0] + high * (bounds[1] - bounds[0])

    def _draw(self, size: int, block: int) -> None:
        """Compute a block of cells of one size; all blocks where the draws are too many to be kept for the next."""
        indices = self._drawn[size]
        weights_RN, pseudo_R = exponentials(0, size, CELL_DRAWS), exponentials(1, 1, CELL_DRAWS)[:, 0]
        total_R = weights_RN.sum(axis=1) + pseudo_R
        pseudo_R = pseudo_R / total_R
        blocks = [block] if size * CELL_DRAWS <= KEPT else range(math.ceil(len(indices) / BLOCK_CELLS))
        for start in (BLOCK_CELLS * one for one in blocks):
            own = indices[start : start + BLOCK_CELLS]
            ends = _drawn_intervals([self._samples[index] for index in own], weights_RN, total_R, pseudo_R)
            self._known.update(zip(own, ends, strict=True))


def _drawn_intervals(
    samples: Sequence[Sample], weights_RN: Floats, total_R: Floats, pseudo_R: Floats
) -> list[Interval]:
    """The intervals of bounded cells of one size, given the weights of seeds, their totals, and the pseudo shares."""
    sums_CR = np.sort([sample.values for sample in samples], axis=1) @ weights_RN.T
    sums_CR /= total_R
    bounds_C2 = np.array([sample.bounds for sample in samples])
    lows = lower_limit(sums_CR + bounds_C2[:, :1] * pseudo_R, TAIL).tolist()
    highs = upper_limit(sums_CR + bounds_C2[:, 1:] * pseudo_R, TAIL).tolist()
    bounds = bounds_C2.tolist()  # the sums round
    return [(max(low, start), min(high, stop)) for low, high, (start, stop) in zip(lows, highs, bounds, strict=True)]


@lru_cache(maxsize=4096)
def clopper_pearson(successes: int, total: int) -> Interval:
    """Compute the 95 % interval of Clopper and Pearson for a proportion.

    Args:
        successes: How many of the trials succeeded.
        total: How many trials there were.

    Returns:
        The lower and the upper end; nan without trials.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 1934.
    """
    if not total:
        return UNKNOWN
    from scipy.special import betaincinv

    low = float(betaincinv(successes, total - successes + 1, TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, total - successes, 1 - TAIL)) if successes < total else 1.0
    return low, high


def mean(samples: Sequence[Sample]) -> tuple[float, Interval]:
    """Average the means of several cells.

    Args:
        samples: The cells, such as the levels of a ladder.

    Returns:
        The mean and its 95 % interval over seeds; nan where a cell has fewer than three seeds.
    """
    return _compared(samples, [], ratio=False)


def difference(ours: Sequence[Sample], theirs: Sequence[Sample]) -> tuple[float, Interval]:
    """Subtract the mean of some cells from that of others; seeds that both sides have are paired.

    Args:
        ours: The cells of one side.
        theirs: The cells of the other.

    Returns:
        The difference and its 95 % interval over seeds; nan where a cell has fewer than three seeds.
    """
    return _compared(ours, theirs, ratio=False)


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> tuple[float, Interval]:
    """Divide the mean of some cells by that of others; seeds that both sides have are paired.

    Args:
        ours: The cells of one side.
        theirs: The cells of the other.

    Returns:
        The ratio and its 95 % interval over seeds. Both are nan where the other mean is 0; the interval is nan where
        a cell has fewer than three seeds or, of an unbounded metric, where the other mean may be 0.
    """
    return _compared(ours, theirs, ratio=True)


class SeedShares:
    """The shares of the seeds of several cells in every draw, kept from one variant to the next.

    Variants that were run with the same seeds have the same shares; of thousands of seeds these take as long to compute
    as everything else. Of one set of seeds after another the last is kept.
    """

    def __init__(self) -> None:
        self._key: tuple[int | None, tuple[tuple[int, ...], ...]] | None = None
        self._shares: list[tuple[Floats, Floats]] = []
        self._sums: dict[int, tuple[Sample, Floats, Floats]] = {}
        self.draws = 0

    def of(self, samples: Sequence[Sample], draws: int | None) -> list[tuple[Floats, Floats]]:
        """The weights of the seeds of each cell, NR, and of its pseudo-observation, R, which together sum to 1.

        Args:
            samples: The cells.
            draws: Draws of the weights; None takes the usual number.

        Returns:
            Both, for each cell.
        """
        key = draws, tuple(tuple(sample.seed_list) for sample in samples)
        if key != self._key:
            weights = Weights(samples, draws)
            self._key = None
            self._shares = [_shares(weights, sample, index) for index, sample in enumerate(samples)]
            self.draws = weights.draws
            if sum(own_NR.size for own_NR, _ in self._shares) <= MOST_SHARES:
                self._key = key
        return self._shares

    def sums(self, index: int, sample: Sample, own_NR: Floats) -> Floats:
        """Sum the weights of the seeds with the lowest numbers of a cell, and keep the sums for the next variant.

        Args:
            index: The place of the cell.
            sample: The cell.
            own_NR: The weights of its seeds.

        Returns:
            The sums over no seed, over the lowest one, ..., over all, (N + 1)R.
        """
        known = self._sums.get(index)
        if known is None or known[0] is not sample or known[1] is not own_NR:
            sums_NR = np.zeros((len(own_NR) + 1, own_NR.shape[1]))
            np.cumsum(
                own_NR[np.argsort(np.asarray(sample.values, dtype=np.float64), kind="stable")], axis=0, out=sums_NR[1:]
            )
            if self._key is None:
                return sums_NR
            known = self._sums[index] = sample, own_NR, sums_NR
        return known[2]


def interquartile_mean(
    samples: Sequence[Sample], draws: int | None = None, kept: SeedShares | None = None
) -> tuple[float, Interval]:
    """Average the middle half of all scores.

    Args:
        samples: The cells; empty ones are left out.
        draws: Draws of the weights; None takes the usual number.
        kept: Shares of seeds, which other variants may have too; None keeps nothing.

    Returns:
        The mean and its 95 % interval over seeds; nan without scores.

    Source: Agarwal et al., arXiv:2108.13264.
    """
    cells = [sample for sample in samples if len(sample.values)]
    if not cells:
        return math.nan, UNKNOWN
    scores = np.sort(np.concatenate([cell.values for cell in cells]))
    cut = len(scores) // 4
    value = average(scores[cut : len(scores) - cut].tolist())
    if min(len(cell.values) for cell in cells) < MIN_SEEDS:
        return value, UNKNOWN
    kept = kept or SeedShares()
    shares = kept.of(cells, draws)
    bounds_C2 = np.array([cell.bounds or SHARE for cell in cells])
    # Seeds of equal scores are taken together: thousands of seeds have some hundreds of scores.
    distinct_U, place_M = np.unique(np.concatenate([cell.values for cell in cells]), return_inverse=True)
    drawn_UR = np.zeros((len(distinct_U) + len(cells), kept.draws))
    stop = 0
    for index, cell in enumerate(cells):
        start, stop = stop, stop + len(cell.values)
        own_NR, own_R = shares[index]
        order = np.argsort(place_M[start:stop], kind="stable")
        places, first = np.unique(place_M[start:stop][order], return_index=True)
        drawn_UR[places] += np.add.reduceat(own_NR[order], first, axis=0)
        drawn_UR[len(distinct_U) + index] = own_R

    def middle(end: int) -> Floats:
        values_U = np.concatenate([distinct_U, bounds_C2[:, end]])
        order = np.argsort(values_U, kind="stable")
        below_UR = np.cumsum(drawn_UR[order[:-1]], axis=0) / len(cells)
        np.clip(below_UR, 0.25, 0.75, out=below_UR)
        # The sum of the values, weighted by the differences of the clipped weights below them, summed by parts.
        middle: Floats = 0.75 * values_U[order[-1]] - 0.25 * values_U[order[0]] - np.diff(values_U[order]) @ below_UR
        return 2 * middle

    low, high = float(lower_limit(middle(0), TAIL)), float(upper_limit(middle(1), TAIL))
    return value, (min(low, value), max(high, value))


def improvement(
    ours: Sequence[Sample], theirs: Sequence[Sample], draws: int | None = None, kept: SeedShares | None = None
) -> tuple[float, Interval]:
    """Estimate the probability that a run of ours beats one of theirs, averaged over cells; ties count half.

    Args:
        ours: The cells of one side.
        theirs: The cells to beat, in the same order; a pair of which one is empty is left out.
        draws: Draws of the weights; None takes the usual number.
        kept: Shares of seeds, which other variants may have too; None keeps nothing.

    Returns:
        The probability and its 95 % interval over seeds; nan without a pair.

    Source: Agarwal et al., arXiv:2108.13264.
    """
    pairs = [(x, y) for x, y in zip(ours, theirs, strict=True) if len(x.values) and len(y.values)]
    if not pairs:
        return math.nan, UNKNOWN
    wins = [_Wins(x.values, y.values) for x, y in pairs]
    value = average([one.share for one in wins])
    if min(len(sample.values) for pair in pairs for sample in pair) < MIN_SEEDS:
        return value, UNKNOWN
    kept = kept or SeedShares()
    shares = kept.of([sample for pair in pairs for sample in pair], draws)
    lows, highs = np.zeros(kept.draws), np.zeros(kept.draws)
    for index, ((_, y), wins_of) in enumerate(zip(pairs, wins, strict=True)):
        (own_NR, own_R), (other_NR, other_R) = shares[2 * index : 2 * index + 2]
        won = wins_of.drawn(own_NR, kept.sums(index, y, other_NR))
        lows += won
        highs += won + 1 - (1 - own_R) * (1 - other_R)
    low, high = lower_limit(lows / len(pairs), TAIL), upper_limit(highs / len(pairs), TAIL)
    return value, (float(low), min(1.0, float(high)))


def _shares(weights: Weights, sample: Sample, cell: int) -> tuple[Floats, Floats]:
    """The weights of the seeds of a cell, NR, and of its pseudo-observation, R, which together sum to 1."""
    own_NR, pseudo_R = weights.by_seed(sample), weights.pseudo(cell)
    total_R = own_NR.sum(axis=0) + pseudo_R
    return own_NR / total_R, pseudo_R / total_R


class _Wins:
    """Which of ours beats which of theirs, by sorting: a table of all pairs grows with the square of the seeds."""

    def __init__(self, ours: Sequence[float], theirs: Sequence[float]) -> None:
        x, y = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        y = np.sort(y)
        self.below, self.up_to = (np.searchsorted(y, x, side=side) for side in SIDES)
        self.share = float((self.below + self.up_to).sum()) / (2 * len(x) * len(y))

    def drawn(self, own_NR: Floats, sums_NR: Floats) -> Floats:
        """The weight of the pairs that ours wins, R; a tie counts half.

        Args:
            own_NR: The weights of ours.
            sums_NR: Those of theirs with the lowest numbers, summed: of none, of one, ...
        """
        beaten_NR = sums_NR[self.below]
        beaten_NR += sums_NR[self.up_to]
        result: Floats = np.einsum("nr,nr->r", beaten_NR, own_NR) / 2
        return result


def _compared(ours: Sequence[Sample], theirs: Sequence[Sample], *, ratio: bool) -> tuple[float, Interval]:
    """The mean of ours, or its difference from or ratio to that of theirs."""
    if any(sample.bounds is None for sample in (*ours, *theirs)):
        return _student(ours, theirs, ratio=ratio)
    value = _combined(_average(ours), _average(theirs), ratio) if theirs else _average(ours)
    if min(len(sample.values) for sample in (*ours, *theirs)) < MIN_SEEDS or math.isnan(value):
        return value, UNKNOWN
    if len(ours) == 1 and not theirs:
        return value, intervals(ours)[0]
    weights = Weights([*ours, *theirs], CELL_DRAWS)
    # One pseudo-observation for each side: the runs of a seed on several levels may all depend on its initial weights.
    (low, high), (other_low, other_high) = (_side(weights, side, index) for index, side in enumerate((ours, theirs)))
    if theirs:
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = (low / other_high, high / other_low) if ratio else (low - other_high, high - other_low)
    return value, (float(lower_limit(low, TAIL)), float(upper_limit(high, TAIL)))


def _side(weights: Weights, samples: Sequence[Sample], pseudo: int) -> tuple[Floats, Floats]:
    """The draws of the mean over cells that share a pseudo-observation."""
    drawn = [weights.means(sample, pseudo) for sample in samples]
    if not drawn:
        return np.zeros(0), np.zeros(0)
    return np.mean([low for low, _ in drawn], axis=0), np.mean([high for _, high in drawn], axis=0)


def _average(samples: Sequence[Sample]) -> float:
    return average([average(sample.values) for sample in samples])


def _combined(own: float, other: float, ratio: bool) -> float:
    return own - other if not ratio else own / other if other else math.nan


def _student(ours: Sequence[Sample], theirs: Sequence[Sample], *, ratio: bool = False) -> tuple[float, Interval]:
    """Student's interval of a mean or a difference, Fieller's of a ratio; the numbers of a seed are taken together.

    With the same seeds everywhere this is the paired t interval of the means of each seed. Otherwise the degrees of
    freedom are those of the smallest cell, which is on the safe side.
    """
    own, own_parts = _parts(ours)
    other, other_parts = _parts(theirs) if theirs else (0.0, {})
    value = _combined(own, other, ratio) if theirs else own
    fewest = min(len(sample.values) for sample in (*ours, *theirs))
    if fewest < MIN_SEEDS or not math.isfinite(value):
        return value, UNKNOWN
    from scipy.special import stdtrit

    seeds = own_parts.keys() | other_parts.keys()
    pairs = np.array([(own_parts.get(seed, 0.0), other_parts.get(seed, 0.0)) for seed in sorted(seeds)])
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows has no interval
        (var, cov), (_, other_var) = (pairs.T @ pairs * fewest / (fewest - 1)).tolist()
    if not math.isfinite(var + other_var + cov):
        return value, UNKNOWN
    t = float(stdtrit(fewest - 1, 1 - TAIL))
    if not (theirs and ratio):
        half = t * math.sqrt(max(0.0, var + other_var - 2 * cov))
        return value, (value - half, value + half)
    a, b, c = other**2 - t**2 * other_var, own * other - t**2 * cov, own**2 - t**2 * var
    if a <= 0:
        return value, UNKNOWN
    half = math.sqrt(max(0.0, b * b - a * c))
    return value, ((b - half) / a, (b + half) / a)


def _parts(samples: Sequence[Sample]) -> tuple[float, dict[int, float]]:
    """The mean over cells, and what each seed adds to it."""
    parts: dict[int, float] = {}
    for sample in samples:
        center = average(sample.values)
        for seed, number in zip(sample.seed_list, sample.values, strict=True):
            parts[seed] = parts.get(seed, 0.0) + (number - center) / (len(sample.values) * len(samples))
    return _average(samples), parts
