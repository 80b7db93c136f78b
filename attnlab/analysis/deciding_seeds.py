"""How many seeds like those that were run would decide a claim.

The seeds are repeated: the same numbers in every copy, as if further seeds came out like those there are. The interval
shrinks with the number of copies, and the fewest copies with which it decides are looked for. This is a rough guide to
the size of a study and no forecast: few seeds may be unlike the others that would come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attnlab.analysis.statistics import UNKNOWN, Interval, Sample

MOST_SEEDS = 1_000
"""More seeds than this are not tried."""
Sides = tuple[Sequence[Sample], Sequence[Sample]]


def deciding_seeds(
    sides: Sides, interval: Callable[[Sides], Interval], decides: Callable[[Interval], bool]
) -> tuple[int, Interval]:
    """Find the fewest copies of all seeds whose interval decides.

    Args:
        sides: The cells of the two sides that are compared; the second may be empty.
        interval: Computes the interval of the estimate of two sides.
        decides: Tells whether an interval decides; one that is not known does not.

    Returns:
        The number of seeds of the cell that has the fewest, in all copies, and the interval that decides; 0 seeds and
        no interval where :data:`MOST_SEEDS` do not decide.
    """
    fewest = min(len(sample.values) for sample in (*sides[0], *sides[1]))
    step = 1 + max(max(sample.seed_list) for sample in (*sides[0], *sides[1]))

    def at(copies: int) -> Interval:
        return interval(_copied(sides, copies, step))

    low, high, most = 1, 1, MOST_SEEDS // fewest
    ends = UNKNOWN
    while not decides(ends):
        if high >= most:
            return 0, UNKNOWN
        low, high = high, min(2 * high, most)
        ends = at(high)
    while high - low > 1:
        middle = (low + high) // 2
        if decides(tried := at(middle)):
            high, ends = middle, tried
        else:
            low = middle
    return high * fewest, ends


def _copied(sides: Sides, copies: int, step: int) -> Sides:
    """Repeat the seeds of every cell; a seed of both sides stays one in each copy, so that differences stay paired."""

    def of(sample: Sample) -> Sample:
        seeds = [seed + step * copy for copy in range(copies) for seed in sample.seed_list]
        return sample._replace(values=[*sample.values] * copies, seeds=seeds)

    ours, theirs = ([of(sample) for sample in side] for side in sides)
    return ours, theirs
