"""Interleaved rounds on a fake clock: the order of turns, the rounds that count, medians and goals."""

from __future__ import annotations

import pytest

from benchmarks.timing.pairs import Measured, interleaved, ratio, summarize


def test_programs_take_turns_and_a_first_round_does_not_count() -> None:
    now, ran = [0.0], []

    def program(name: str, seconds: float) -> object:
        ran.append(name)
        now[0] += seconds
        return None

    programs = {"a": lambda: program("a", 1.0), "b": lambda: program("b", 2.0)}
    synchronized: list[int] = []
    result = interleaved(programs, 3, clock=lambda: now[0], synchronize=lambda: synchronized.append(1))
    assert result == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert len(ran) == 8
    assert [ran[start : start + 2] for start in (2, 4, 6)] == [["a", "b"], ["b", "a"], ["a", "b"]]
    assert len(synchronized) == 16


def test_a_ratio_is_taken_round_by_round() -> None:
    measured = ratio("baseline / ours", [2.0, 30.0, 4.0], [1.0, 10.0, 1.0], goal=3.0)
    assert (measured.median, measured.low, measured.high, measured.rounds) == (3.0, 2.5, 3.5, 3)
    assert measured.reached
    assert ratio("baseline / ours", [2.0, 2.0], [1.0, 1.0], factor=20).median == 40.0


@pytest.mark.parametrize(
    ("goal", "below", "reached"), [(None, False, None), (2.0, False, True), (2.1, False, False), (1.9, True, False)]
)
def test_a_goal_is_reached_from_its_own_side(goal: float | None, below: bool, reached: bool | None) -> None:
    assert Measured("one", 2.0, 2.0, 2.0, 1, goal=goal, below=below).reached is reached


def test_one_round_has_no_spread() -> None:
    assert summarize("memory", [5.0]) == Measured("memory", 5.0, 5.0, 5.0, 1)
