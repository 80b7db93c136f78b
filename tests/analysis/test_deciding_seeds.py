"""How many seeds like those that were run would decide."""

from __future__ import annotations

from attnlab.analysis.deciding_seeds import MOST_SEEDS, Sides, deciding_seeds
from attnlab.analysis.statistics import UNKNOWN, Interval, Sample, difference

HALF, SOME = [0.4, 0.9, 1.0, 0.99, 0.3], [0.35, 0.5, 0.6, 0.3, 0.8]


def interval(sides: Sides) -> Interval:
    return difference(*sides)[1]


def test_where_there_are_as_many_seeds_as_are_tried_at_most_no_copy_is_made() -> None:
    def never(sides: Sides) -> Interval:
        raise AssertionError("a copy was made")

    assert deciding_seeds(([Sample([0.4, 0.6] * (MOST_SEEDS // 2))], []), never, above_zero) == (0, UNKNOWN)


def above_zero(ends: Interval) -> bool:
    return ends[0] > 0


def test_it_is_the_fewest_copies_whose_interval_decides() -> None:
    def ends(copies: int) -> Interval:
        return difference([Sample(HALF * copies, (0.2, 1.0))], [Sample(SOME * copies, (0.2, 1.0))])[1]

    sides = [Sample(HALF, (0.2, 1.0))], [Sample(SOME, (0.2, 1.0))]
    found, told = deciding_seeds(sides, interval, above_zero)
    assert found % 5 == 0
    assert told == ends(found // 5)
    assert above_zero(told)
    assert not above_zero(ends(found // 5 - 1))


def test_seeds_of_both_sides_stay_paired() -> None:
    paired = ([Sample([0.5, 0.7, 0.9], None, [3, 5, 8])], [Sample([0.4, 0.6, 0.85], None, [3, 5, 8])])
    crossed = (paired[0], [Sample([0.85, 0.6, 0.4], None, [3, 5, 8])])
    alone, mixed = (deciding_seeds(sides, interval, above_zero)[0] for sides in (paired, crossed))
    assert alone == 6  # twice the three differences, which are all alike
    assert mixed > 10 * alone


def test_what_equals_the_bound_is_never_decided() -> None:
    same = [Sample([0.5, 0.5, 0.5])]
    assert deciding_seeds((same, same), interval, above_zero)[0] == 0


def test_no_more_than_the_most_are_tried() -> None:
    tried = []

    def count(sides: Sides) -> Interval:
        tried.append(max(len(sample.values) for sample in sides[0]))
        return (-1.0, 1.0)

    assert deciding_seeds(([Sample([0.5] * 3)], []), count, above_zero)[0] == 0
    assert max(tried) == MOST_SEEDS // 3 * 3
