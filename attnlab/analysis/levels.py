"""How far an accuracy is above chance, and which levels of a ladder are passed.

The report and the capacity search use the same functions, so that both find the same max solved level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnlab.analysis._draws import Sample


def share_above_chance(accuracy: float, chance: float) -> float:
    """Scale an accuracy so that chance is 0 and a perfect score is 1.

    >>> share_above_chance(0.625, 0.25), share_above_chance(0.25, 0.25), share_above_chance(0.5, 1.0)
    (0.5, 0.0, 0.5)

    Args:
        accuracy: The accuracy.
        chance: The chance accuracy.

    Returns:
        The share of the way from chance to 1; negative below chance. The accuracy itself where chance is 1.
    """
    span = 1 - chance
    return (accuracy - chance) / span if span > 0 else accuracy


def normalized_accuracy(accuracy: float, chance: float) -> float:
    """Scale an accuracy as :func:`share_above_chance` does, where chance leaves something to learn.

    >>> normalized_accuracy(0.625, 0.25), normalized_accuracy(0.5, 1.0)
    (0.5, nan)

    Args:
        accuracy: The accuracy.
        chance: The chance accuracy.

    Returns:
        The share of the way from chance to 1; nan where chance is 1 or unknown.
    """
    return share_above_chance(accuracy, chance) if chance < 1 else math.nan


def share_sample(accuracies: Sequence[float], chance: float, seeds: Sequence[int] = ()) -> Sample:
    """Scale the accuracies of a cell so that chance is 0, with the bounds that its interval needs.

    Args:
        accuracies: The accuracy of each seed.
        chance: The chance accuracy.
        seeds: The seeds.

    Returns:
        The shares; the lower bound is that of chance, or that of an accuracy of 0 where a run is below chance.
    """
    above = not accuracies or math.isnan(chance) or min(accuracies) >= chance
    low = 0.0 if above else share_above_chance(0.0, chance)
    return Sample([share_above_chance(accuracy, chance) for accuracy in accuracies], (low, 1.0), seeds)


def half_solved(solved: Sequence[bool]) -> bool:
    """Decide whether at least half of the runs solve a level.

    Args:
        solved: Whether each run solves it.

    Returns:
        Whether at least half do; true without runs.
    """
    return 2 * sum(solved) >= len(solved)


def boundary(passed: Sequence[bool | None]) -> tuple[int, int]:
    """Find the first level that is not passed and the highest passed level below it.

    >>> boundary([True, None, True, False, True]), boundary([False, True]), boundary([True, None])
    ((2, 3), (-1, 0), (0, 2))

    Args:
        passed: Whether each level is passed, easiest first; None where it was not run.

    Returns:
        The index of the highest passed level below the first that is not passed, -1 if there is none; and the index
        of the first level that is not passed, the number of levels if there is none.
    """
    above = next((index for index, state in enumerate(passed) if state is False), len(passed))
    return max((index for index, state in enumerate(passed[:above]) if state), default=-1), above
