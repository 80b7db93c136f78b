"""The cost of a tracker on clocks whose answer is known."""

from __future__ import annotations

import pytest

from benchmarks.trackers import Clocks, Interval, Reading, Round, intervals, rounds

NOTHING = Clocks(0.0, 0.0, 0.0, 0.0)
IDLE = Interval(Clocks(1.0, 1.0, 0.0, 0.0), NOTHING, False)
BUSY = Interval(Clocks(1.5, 1.1, 0.2, 0.1), NOTHING, True)


def one_round(found: list[Interval]) -> Round:
    (result,) = rounds(found, 1)
    return result


def test_an_interval_with_work_counts_as_its_neighbors() -> None:
    measured = one_round([IDLE] * 4 + [BUSY] + [IDLE] * 5)
    assert measured.processor == pytest.approx(10 / (10.1 + 0.2 + 0.1))
    assert measured.clock == pytest.approx(10 / 10.5)


def test_other_load_that_comes_and_stays_is_no_cost() -> None:
    slow = Interval(Clocks(3.0, 3.0, 0.0, 0.0), NOTHING, False)
    work = Interval(Clocks(2.0, 2.0, 0.1, 0.0), NOTHING, True)
    assert one_round([IDLE, IDLE, work, slow, slow]).clock == 1.0


def test_calls_of_the_queue_are_a_cost() -> None:
    call = Interval(Clocks(1.0, 1.0, 0.0, 0.0), Clocks(0.25, 0.25, 0.0, 0.0), False)
    assert one_round([call, call]).processor == pytest.approx(0.8)
    assert one_round([call, call]).clock == pytest.approx(0.8)


def test_an_interval_at_the_edge_has_one_neighbor() -> None:
    assert one_round([BUSY, IDLE]).clock == pytest.approx(2 / 2.5)


def test_intervals_lie_between_calls_and_rounds_are_equal() -> None:
    first, second = Clocks(1.0, 1.0, 0.0, 0.0), Clocks(2.0, 1.5, 0.5, 0.0)
    third, fourth = Clocks(5.0, 3.5, 0.5, 0.25), Clocks(5.5, 4.0, 0.5, 0.25)
    start = Reading(NOTHING, NOTHING, False)
    (found,) = intervals([start, Reading(first, second, True), Reading(third, fourth, False)])
    assert found == Interval(Clocks(3.0, 2.0, 0.0, 0.25), Clocks(0.5, 0.5, 0.0, 0.0), True)
    assert [len(one.intervals) for one in rounds([IDLE] * 7, 3)] == [2, 2, 2]


def test_a_round_in_which_the_tracker_always_worked_has_its_neighbors_outside() -> None:
    first, second, third = rounds([IDLE, IDLE, BUSY, BUSY, IDLE, IDLE], 3)
    assert (first.clock, third.clock) == (1.0, 1.0)
    assert second.clock == pytest.approx(2 / 3)


def test_the_two_intervals_after_a_batch_are_compared() -> None:
    full = [False, True, False, False, False]
    assert [one.worked for one in intervals([Reading(NOTHING, NOTHING, one) for one in full])] == [True, True, False]
