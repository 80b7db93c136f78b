"""The levels of a ladder that an experiment trains on and tests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnlab.config.experiment import LadderLevels
from attnlab.config.ladder import Ladder
from attnlab.tasks.io.ladders import shares_training, with_training
from attnlab.tasks.io.streams import parse_range

TRAINING = "task.train."
"""Before the name of an option that differs in training, in a key."""


def trained_ladder(entry: LadderLevels, ladder: Ladder, setting: Mapping[str, Any]) -> Ladder:
    """Give a ladder the options of training that an experiment sets.

    Args:
        entry: The ladder and its levels, as the experiment has them.
        ladder: That ladder.
        setting: One combination of what varies: dotted key -> value.

    Returns:
        The ladder; an option of the combination goes before one of the entry.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept a value.
    """
    own = {key.removeprefix(TRAINING): value for key, value in setting.items() if key.startswith(TRAINING)}
    for training in (entry.training or None, entry.options.get("train"), setting.get("task.train"), own or None):
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
    ends = parse_range(ladder.training[ladder.complexity])
    own = ends[1] if ends and ends[1] in levels else ladder.default if ladder.default in levels else levels[0]
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
