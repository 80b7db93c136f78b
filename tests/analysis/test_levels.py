from __future__ import annotations

import pytest

from attnlab.analysis.levels import boundary, half_solved, share_above_chance


@pytest.mark.parametrize(
    ("accuracy", "chance", "share"), [(0.25, 0.25, 0.0), (1.0, 0.25, 1.0), (0.1, 0.25, -0.2), (0.3, 1.0, 0.3)]
)
def test_share_above_chance(accuracy: float, chance: float, share: float) -> None:
    assert share_above_chance(accuracy, chance) == pytest.approx(share)


@pytest.mark.parametrize(
    ("solved", "half"), [((True, False), True), ((True, False, False), False), ((), True), ((False,), False)]
)
def test_half_solved(solved: tuple[bool, ...], half: bool) -> None:
    assert half_solved(solved) == half


@pytest.mark.parametrize(
    ("passed", "ends"),
    [
        ([True, True, False, True], (1, 2)),
        ([True, None, None, False], (0, 3)),
        ([None, None], (-1, 2)),
        ([False, True], (-1, 0)),
        ([None, True], (1, 2)),
        ([], (-1, 0)),
    ],
)
def test_the_boundary_between_passed_and_failed_levels(passed: list[bool | None], ends: tuple[int, int]) -> None:
    assert boundary(passed) == ends
