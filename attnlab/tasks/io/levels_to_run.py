"""The levels of a ladder that an experiment trains on and tests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attnlab.config.experiment import LadderLevels
from attnlab.config.ladder import Ladder
from attnlab.tasks.io.ladder_training import shares_training, with_training
from attnlab.tasks.io.streams import parse_range


def trained_ladder(entry: LadderLevels, ladder: Ladder) -> Ladder:
    """Give a ladder the options of training of an entry that has been checked.

    Args:
        entry: The ladder and its levels, as the experiment has them.
        ladder: That ladder.

    Returns:
        The ladder.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept a value.
    """
    for training in (entry.training or None, entry.options.get("train")):
        ladder = with_training(ladder, training)
    return ladder


def levels_to_run(entry: LadderLevels, ladder: Ladder) -> Iterator[tuple[Any, tuple[Any, ...] | None]]:
    """List the levels to train on, each with those to test on as well.

    Where a ladder trains on a range of levels, all its levels share one training. It is run once and tested on every
    level; its own level is the hardest of the range.

    Args:
        entry: The ladder and its levels, as the experiment has them.
        ladder: That ladder, with its options of training.

    Yields:
        A level, and the further ones; None where these are the ladder's.
    """
    levels = in_ladder_order(entry.levels, ladder.levels) if entry.levels else ladder.levels
    if not shares_training(ladder):
        yield from ((level, entry.evaluate) for level in levels)
        return
    drawn = ladder.training[ladder.complexity]
    ends = parse_range(drawn)
    hardest = ends[1] if ends else drawn
    own = next((level for level in (hardest, ladder.default) if level in levels), levels[0])
    others = (*levels, *(ladder.evaluate if entry.evaluate is None else entry.evaluate))
    yield own, tuple(level for level in dict.fromkeys(others) if level != own)


def in_ladder_order(levels: Sequence[Any], ladder: Sequence[Any]) -> Sequence[Any]:
    """Sort levels as a ladder has them, easiest first.

    >>> in_ladder_order([8, 2], [2, 4, 8]), in_ladder_order([16, 64], [128, 32]), in_ladder_order(["b", "a"], ["b"])
    ([2, 8], [64, 16], ['b', 'a'])

    Args:
        levels: The levels.
        ladder: The levels of the ladder.

    Returns:
        Each once. Levels that are not on the ladder go by size, if all are numbers; otherwise they stay as they are.
    """
    if all(level in ladder for level in levels):
        return [level for level in ladder if level in levels]
    if all(isinstance(level, int | float) for level in (*levels, *ladder)):
        return sorted(dict.fromkeys(levels), reverse=ladder[0] > ladder[-1])
    return list(dict.fromkeys(levels))
