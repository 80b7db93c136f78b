"""The cost of a tracker on clocks whose answer is known."""

from __future__ import annotations

import pytest

from benchmarks.trackers import Clocks, Interval, Round, intervals, rounds

IDLE = Interval(Clocks(1.0, 1.0, 0.0, 0.0), Clocks(0.0, 0.0, 0.0, 0.0))
BUSY = Interval(Clocks(1.5, 1.1, 0.2, 0.1), Clocks(0.0, 0.0, 0.0, 0.0))


def test_an_interval_with_work_counts_as_its_neighbors() -> None:
    measured = Round([IDLE] * 4 + [BUSY] + [IDLE] * 5)
    assert measured.processor == pytest.approx(10 / (10.1 + 0.2 + 0.1))
    assert measured.clock == pytest.approx(10 / 10.5)


def test_other_load_that_comes_and_stays_is_no_cost() -> None:
    slow = Interval(Clocks(3.0, 3.0, 0.0, 0.0), Clocks(0.0, 0.0, 0.0, 0.0))
    work = Interval(Clocks(2.0, 2.0, 0.1, 0.0), Clocks(0.0, 0.0, 0.0, 0.0))
    assert Round([IDLE, IDLE, work, slow, slow]).clock == 1.0


def test_calls_of_the_queue_are_a_cost() -> None:
    call = Interval(Clocks(1.0, 1.0, 0.0, 0.0), Clocks(0.25, 0.25, 0.0, 0.0))
    assert Round([call, call]).processor == pytest.approx(0.8)
    assert Round([call, call]).clock == pytest.approx(0.8)


def test_an_interval_at_the_edge_has_one_neighbor() -> None:
    assert Round([BUSY, IDLE]).clock == pytest.approx(2 / 2.5)


def test_a_tracker_that_always_works_is_refused() -> None:
    with pytest.raises(SystemExit, match="slower than the steps"):
        _ = Round([BUSY, BUSY]).clock


def test_intervals_lie_between_calls_and_rounds_are_equal() -> None:
    first, second = Clocks(1.0, 1.0, 0.0, 0.0), Clocks(2.0, 1.5, 0.5, 0.0)
    third, fourth = Clocks(5.0, 3.5, 0.5, 0.25), Clocks(5.5, 4.0, 0.5, 0.25)
    (found,) = intervals([(first, second), (third, fourth)])
    assert found == Interval(Clocks(3.0, 2.0, 0.0, 0.25), Clocks(0.5, 0.5, 0.0, 0.0))
    assert found.worked
    assert [len(one.intervals) for one in rounds([IDLE] * 7, 3)] == [2, 2, 2]
