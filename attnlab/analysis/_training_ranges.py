"""Ranges of levels that runs are trained on, beside the level of each run.

A record has the range as it was drawn from, ``1..8``, and not whether it was written so or as ``1..level``. A run whose
range ends at its own level was trained on that level, however the range was written. Which runs have one training, and
which have ranges of their own, only shows in the runs of several levels together.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from attnlab.tasks.io.curriculum import MOVING, STAGES, parse_curriculum

OWN = "level"
"""Stands for the level of the run at the end of a range."""
MOST_ENDS = 4
"""Ends of ranges that may stand for the level of the run, the last ones first; n of them can be read in 2^n ways."""


@lru_cache(maxsize=4096)
def ends_at(trained: Any, level: Any) -> bool:
    """Tell whether a training ends at a level: it is the level, or its last range ends there.

    >>> ends_at(8, 8), ends_at("1..2 -> 1..8", 8), ends_at("1..8", 4)
    (True, True, False)

    Args:
        trained: What a run was trained on: a level, a range, or a curriculum.
        level: The level.

    Returns:
        Whether it does.
    """
    if trained == level:
        return True
    curriculum = parse_curriculum(trained)
    return curriculum is not None and curriculum.final[1] == level


def common_training(trainings: Iterable[tuple[Any, Any]]) -> dict[tuple[Any, Any], Any]:
    """Write trainings so that those which differ by the level of the run alone are equal.

    >>> ladder = [("1..2", 2), ("1..4", 4), ("1..8", 8)]
    >>> [*common_training(ladder).values()], [*common_training([("1..8", 4), ("1..8", 8)]).values()]
    (['1..level', '1..level', '1..level'], ['1..8', '1..8'])

    Args:
        trainings: What a run was trained on, and its level.

    Returns:
        Each with its text, in which ends of ranges are ``level`` where this makes the trainings of most levels equal;
        it is as it was where that makes no more of them equal.
    """
    ways = {key: _ways(*key) for key in dict.fromkeys(trainings)}
    counts = Counter(way for own in ways.values() for way in own)
    return {key: max(own, key=lambda way: counts[way]) for key, own in ways.items()}


def _ways(trained: Any, level: Any) -> list[Any]:
    """The ways to write a training with and without ``level``; first the one without."""
    curriculum = parse_curriculum(trained)
    if curriculum is None:
        return [trained]
    ends = [place for place, (_, end) in enumerate(curriculum.ranges) if end == level][-MOST_ENDS:]
    found = [trained]
    for count in range(1, 1 + len(ends)):
        for chosen in itertools.combinations(ends, count):
            texts = [f"{low}..{OWN if place in chosen else end}" for place, (low, end) in enumerate(curriculum.ranges)]
            found.append(f" {STAGES if curriculum.in_stages else MOVING} ".join(texts))
    return found
