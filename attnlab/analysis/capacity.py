"""Capacities: the complexity at which a monotone fit to the accuracy falls to a share of the way from chance to 1.

A curve is drawn by drawing the mean of each level (see :mod:`attnlab.analysis._draws`), and the monotone fit to it
crosses the share at some complexity. The lower end of the interval comes from curves with pseudo-observations at
chance, the upper end from curves with pseudo-observations at 1.

The capacity itself is read off a line between two levels. The interval does not trust that line: accuracy is assumed to
fall with the level and nothing more, so that each end moves outwards to the closest level. Where every run solves level
4 and none solves level 8, the interval is 4 to 8 however many seeds there are, because a cliff may be anywhere between.
Observed coverage in percent of intervals of C50, of a cliff that is anywhere on the ladder, before and after the ends
were moved, by the standard deviation over runs of where it is, in levels (``of_cliffs`` of
``benchmarks/simulated_seeds.py``, 200 ladders each):

    seeds           3           5           10          20
    0            100, 100    100, 100     54, 100     23, 100
    0.25         100, 100    100, 100     98, 100     82, 100

Source   Barlow et al., "Statistical inference under order restrictions", 1972 (monotone fit, by its min-max formula).
Letters  R draws, C levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.analysis._draws import Floats, Interval, Sample, Weights, lower_limit, upper_limit
from attnlab.analysis.statistics import MIN_SEEDS, TAIL, TINY, UNKNOWN, average

BLOCK = 50
"""Variants whose curves are fitted at once."""


@dataclass(frozen=True)
class Curve:
    """Accuracy over the levels of a ladder: its monotone fit, and those of drawn curves."""

    complexities: Sequence[float]
    """The levels that were run, rising."""
    fitted_1C: Floats
    lower_RC: Floats | None = None
    """The fits of the lower draws; None where a level has a single seed, or no level has three."""
    upper_RC: Floats | None = None

    def capacity(self, share: float) -> tuple[float, Interval]:
        """Find where the fit crosses a share.

        Args:
            share: 0.5 for C50, 0.9 for C90.

        Returns:
            The complexity and its 95 % interval over seeds, whose ends are levels; nan without any run.
        """
        if not self.complexities:
            return math.nan, UNKNOWN
        value = float(crossings(self.complexities, self.fitted_1C, share)[0])
        if self.lower_RC is None:
            return value, UNKNOWN
        lows, highs = self.draws(share)
        return value, outwards(self.complexities, (float(lower_limit(lows, TAIL)), float(upper_limit(highs, TAIL))))

    def draws(self, share: float) -> tuple[Floats, Floats]:
        """Find where the lower and the upper draws cross a share.

        Args:
            share: 0.5 for C50, 0.9 for C90.

        Returns:
            The complexities, R each; empty where there is no interval.
        """
        if self.lower_RC is None or self.upper_RC is None:
            return np.zeros(0), np.zeros(0)
        return crossings(self.complexities, self.lower_RC, share), crossings(self.complexities, self.upper_RC, share)


def curve(complexities: Sequence[float], cells: Sequence[Sample | float], draws: int | None = None) -> Curve:
    """Fit a curve that never rises; a level counts as much as it has seeds.

    Args:
        complexities: The levels of the ladder, rising.
        cells: The accuracy of each seed of each level, as a share of the way from chance to 1; empty levels are left
            out. A number is a share that is known without a run.
        draws: Draws of the weights; None takes the usual number.

    Returns:
        The curve.
    """
    (found,) = curves(complexities, [cells], draws)
    return found


def curves(
    complexities: Sequence[float], variants: Sequence[Sequence[Sample | float]], draws: int | None = None
) -> list[Curve]:
    """Fit the curves of several variants as :func:`curve` does, those with the same seeds on the same levels at once.

    Args:
        complexities: The levels of the ladder, rising.
        variants: The cells of each variant.
        draws: Draws of the weights; None takes the usual number.

    Returns:
        The curve of each variant.
    """
    prepared = [_prepared(complexities, cells, draws) for cells in variants]
    alike: dict[tuple[tuple[float, ...], tuple[int, ...], bool], list[int]] = {}
    for index, (xs, sizes, _, drawn_2RC) in enumerate(prepared):
        alike.setdefault((tuple(xs), tuple(sizes), drawn_2RC is None), []).append(index)
    found: dict[int, Curve] = {}
    for (_, counts, unknown), indices in alike.items():
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            means = np.array([prepared[index][2] for index in block])
            fitted = decreasing(means, counts) if counts else np.zeros((len(block), 0))
            ends: list[Any] = [(None, None)] * len(block)
            if not unknown:
                drawn = np.stack([drawn_2RC for index in block if (drawn_2RC := prepared[index][3]) is not None])
                ends = [*decreasing(drawn.reshape(-1, len(counts)), counts).reshape(drawn.shape)]
            for place, index in enumerate(block):
                found[index] = Curve(prepared[index][0], fitted[place : place + 1], *ends[place])
    return [found[index] for index in range(len(prepared))]


def is_known(cell: Sample | float) -> bool:
    """Tell whether a level was run.

    Args:
        cell: The accuracy of each seed; or a share that is known without a run.

    Returns:
        False where there is no seed.
    """
    return not isinstance(cell, Sample) or len(cell.values) > 0


def _prepared(
    complexities: Sequence[float], cells: Sequence[Sample | float], draws: int | None
) -> tuple[list[float], list[int], list[float], Floats | None]:
    """The levels that were run, their seeds, their means, and the lower and upper draws of these, if there are any."""
    full = [(x, cell) for x, cell in zip(complexities, cells, strict=True) if is_known(cell)]
    xs = [x for x, _ in full]
    means = [average(cell.values) if isinstance(cell, Sample) else cell for _, cell in full]
    samples = [cell for _, cell in full if isinstance(cell, Sample)]
    most = max((len(sample.values) for sample in samples), default=1)
    sizes = [len(cell.values) if isinstance(cell, Sample) else most for _, cell in full]
    counts = [len(sample.values) for sample in samples]
    if not samples or min(counts) < 2 or max(counts) < MIN_SEEDS:
        return xs, sizes, means, None
    weights = Weights(samples, draws)
    drawn_2RC = np.empty((2, weights.draws, len(full)))
    for level, (_, cell) in enumerate(full):
        drawn_2RC[:, :, level] = weights.means(cell, level) if isinstance(cell, Sample) else cell
    return xs, sizes, means, drawn_2RC


def outwards(complexities: Sequence[float], ends: Interval) -> Interval:
    """Move the ends of an interval to the closest levels outside it.

    >>> outwards([2, 4, 8, 16], (4.8, 6.7)), outwards([2, 4, 8, 16], (0.0, 8.0)), outwards([2, 4], (2.5, math.inf))
    ((4, 8), (0.0, 8), (2, inf))

    Args:
        complexities: The levels of the ladder, rising.
        ends: Where the lower and the upper draws cross the share.

    Returns:
        The ends; 0 stays where the lower one is below the first level, and infinity where the upper one is above the
        last.
    """
    slack = TINY * max(map(abs, complexities))
    low, high = ends
    if 0 < low < math.inf:
        low = max(level for level in complexities if level <= low + slack)
    if 0 < high < math.inf:
        high = min(level for level in complexities if level >= high - slack)
    return low, high


def decreasing(curves_RC: Floats, weights: Sequence[float] | None = None) -> Floats:
    """Fit nonincreasing curves by least squares.

    Args:
        curves_RC: The curves.
        weights: The weight of each level, such as its number of seeds; None weights all alike.

    Returns:
        The fitted curves, RC.

    Source: Barlow et al. 1972, the min-max formula.
    """
    weights_C = np.ones(curves_RC.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    curves_CR = curves_RC.T
    sums = np.concatenate([np.zeros_like(curves_CR[:1]), np.cumsum(weights_C[:, None] * curves_CR, axis=0)])
    totals = np.concatenate([[0.0], np.cumsum(weights_C)])
    fitted_CR = np.full_like(curves_CR, np.inf)
    for first in range(len(curves_CR)):
        means = (sums[first + 1 :] - sums[first]) / (totals[first + 1 :] - totals[first])[:, None]
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
