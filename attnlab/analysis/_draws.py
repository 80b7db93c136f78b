"""Random weights of the seeds of a cell, from which intervals of bounded metrics are read.

    lower draw of a mean = sum_i D_i x_i + D_0 low      upper draw = sum_i D_i x_i + D_0 high
    (D_0, D_1, ..., D_N) ~ Dirichlet(1, ..., 1)

x_1..x_N are the numbers of N seeds, and D_0 belongs to one pseudo-observation at a bound of the metric. The lower
limit is a low quantile of the lower draws, the upper limit a high quantile of the upper draws.

A seed has one weight (before they are divided by their sum) in every cell that it was run in, because runs of one seed
share their data stream and their initial weights; every cell has a pseudo-observation of its own. So a difference
between two variants is paired, and a mean over levels does not count the runs of one seed as independent.

Sources  Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable",
         Mathematical Methods of Statistics 2005; Learned-Miller and Thomas, "A new confidence interval for the mean of
         a bounded random variable", arXiv:1905.06208; Phan, Thomas and Learned-Miller, "Towards practical mean bounds
         for small samples", ICML 2021.
Differs  In the weights that cells share; the papers have one cell.
Letters  R draws, N seeds of a cell, S seeds of all cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.specs import Split

Floats = NDArray[np.float64]
Interval = tuple[float, float]
SHARE: Interval = (0.0, 1.0)
"""The bounds of a share."""
DRAWS = 1000
MANY = 50
"""With more cells than this, fewer draws suffice: a mean over so many cells is close to normal."""

KEPT = 2**23
"""Numbers that are kept from one cell to the next at most: 64 MB."""
MANY_ROWS, MANY_NUMBERS, FEWEST_DRAWS = 500, 50_000, 200
"""With more variants or numbers than this in one table, each is drawn less often; see :func:`draws_per_row`."""


class Sample(NamedTuple):
    """The numbers of one cell, one for each seed."""

    values: Sequence[float]
    bounds: Interval | None = SHARE
    """The lowest and the highest value that the metric can have; None where it is unbounded."""
    seeds: Sequence[int] = ()
    """The seed of each number; none takes 0, 1, ..."""

    @property
    def seed_list(self) -> list[int]:
        """The seed of each number."""
        return list(self.seeds) or list(range(len(self.values)))


class Weights:
    """Random weights of the seeds of several cells.

    Args:
        samples: The cells.
        draws: How many draws there are; None takes :data:`DRAWS`, and fewer for very many cells.
    """

    def __init__(self, samples: Sequence[Sample], draws: int | None = None) -> None:
        self.draws = draws or min(DRAWS, max(DRAWS // 2, MANY * DRAWS // max(1, len(samples))))
        known = sorted({seed for sample in samples for seed in sample.seed_list})
        self._columns = {seed: column for column, seed in enumerate(known)}
        self._all_RS = exponentials(0, len(known), self.draws)

    def of(self, sample: Sample) -> Floats:
        """The weights of the seeds of a cell, RN, before they are divided by their sum."""
        columns = [self._columns[seed] for seed in sample.seed_list]
        everything = columns == list(range(self._all_RS.shape[1]))
        return self._all_RS if everything else self._all_RS[:, columns]

    def by_seed(self, sample: Sample) -> Floats:
        """The same, NR: the weights of a seed stand side by side."""
        columns = [self._columns[seed] for seed in sample.seed_list]
        all_SR = self._all_SR
        return all_SR if columns == list(range(len(all_SR))) else all_SR[columns]

    @cached_property
    def _sums(self) -> Floats:
        if self._all_RS.size > KEPT:  # they would be drawn again
            return self._all_RS.sum(axis=1)
        return _exponential_sums(0, self._all_RS.shape[1], self.draws)

    @cached_property
    def _all_SR(self) -> Floats:
        return np.ascontiguousarray(self._all_RS.T)

    def pseudo(self, cell: int) -> Floats:
        """The weights of the pseudo-observation of a cell, R; ``cell`` distinguishes it from other cells."""
        return exponentials(1 + cell, 1, self.draws)[:, 0]

    def means(self, sample: Sample, cell: int) -> tuple[Floats, Floats]:
        """Draw the mean of a bounded cell.

        Args:
            sample: The cell.
            cell: Distinguishes its pseudo-observation from those of other cells.

        Returns:
            The lower and the upper draws, R.
        """
        assert sample.bounds is not None
        own_RN, pseudo_R = self.of(sample), self.pseudo(cell)
        total_R = (self._sums if own_RN is self._all_RS else own_RN.sum(axis=1)) + pseudo_R
        sum_R = own_RN @ np.asarray(sample.values, dtype=np.float64)
        low, high = sample.bounds
        lower_R, upper_R = (sum_R + pseudo_R * low) / total_R, (sum_R + pseudo_R * high) / total_R
        return np.maximum(lower_R, low), np.minimum(upper_R, high)  # the sums round


def draws_per_row(rows: int, numbers: int = 0) -> int | None:
    """How often each variant of a table is drawn; None for the usual number.

    With thousands of variants, or of seeds, the draws would take minutes. With 200 draws instead of 1000, the tail
    beyond an end is 1.4 to 3.6 % instead of 2.0 to 3.0 % (one standard error).

    Args:
        rows: Variants of the table.
        numbers: Numbers of all variants together, where each of them is weighted in every draw.
    """
    load = max(rows / MANY_ROWS, numbers / MANY_NUMBERS)
    return None if load <= 1 else max(FEWEST_DRAWS, int(DRAWS / load))


def exponentials(stream: int, count: int, draws: int) -> Floats:
    """Exponential numbers, draws by count; the same arguments give the same numbers."""
    return _exponentials(stream, count, draws) if count * draws <= KEPT else _drawn(stream, count, draws)


@lru_cache(maxsize=256)
def _exponentials(stream: int, count: int, draws: int) -> Floats:
    return _drawn(stream, count, draws)


@lru_cache(maxsize=16)
def _exponential_sums(stream: int, count: int, draws: int) -> Floats:
    """The sum of each draw of :func:`exponentials`: variants with as many seeds have the same."""
    sums: Floats = exponentials(stream, count, draws).sum(axis=1)
    return sums


def _drawn(stream: int, count: int, draws: int) -> Floats:
    drawn = np.random.default_rng([int(Split.BOOTSTRAP), stream, count]).standard_exponential((draws, count))
    drawn.flags.writeable = False
    return drawn


def lower_limit(draws: Floats, tail: float, axis: int = -1) -> Floats:
    """The quantile below which no more than a share ``tail`` of the draws lie; infinite draws are allowed."""
    below = int(draws.shape[axis] * tail)
    return np.take(np.partition(draws, below, axis=axis), below, axis=axis)


def upper_limit(draws: Floats, tail: float, axis: int = -1) -> Floats:
    """The quantile above which no more than a share ``tail`` of the draws lie; infinite draws are allowed."""
    above = draws.shape[axis] - 1 - int(draws.shape[axis] * tail)
    return np.take(np.partition(draws, above, axis=axis), above, axis=axis)
