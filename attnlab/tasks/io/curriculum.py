"""Curricula: ranges of an option from which training batches are drawn, and how they change from step to step.

    1..40                         the same range at every step
    3..40 -> 3..160               each end moves in a straight line from the first step to the last
    3..40 -> 3..80 -> 3..160      likewise, past ranges at equal distances
    3..40 | 3..80 | 3..160        stages of equally many steps
    4 -> 16                       one value at a time
    1..level                      up to the level of each run; so may any range end

With n ranges of which range j has the lower end a_j, at step s = 0 .. S - 1 of S, where x = s (n - 1) / (S - 1):

    moving      a = a_j + (x - j) (a_(j + 1) - a_j), to the nearest integer     j = floor(x)
    in stages   a = a_j                                                         j = floor(s n / S)

S is the largest number of steps of the training (``train.max_steps``), whether it stops earlier or not. So the range of
a step follows from the specification alone, and a training that is resumed goes on where it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from attnlab.errors import InvalidValueError

MOVING, STAGES = "->", "|"
LEVEL = "level"
"""The level of each run, at the end of a range."""
RANGE = re.compile(rf"(-?\d{{1,30}})(?:\s*\.\.\s*(-?\d{{1,30}}|{LEVEL}))?")
HINT = (
    "Write lo..hi, or lo..level to end at each level; several with -> (moving) or | (stages) between them: "
    "3..40 -> 3..160."
)

Range = tuple[int, int]
"""Both ends of a range, inclusive."""


@dataclass(frozen=True)
class Curriculum:
    """Ranges of one option over a training.

    Args:
        ranges: Both ends of each, inclusive.
        in_stages: Whether each holds for equally many steps; otherwise the ends move from one to the next.
    """

    ranges: tuple[Range, ...]
    in_stages: bool = False

    def at(self, step: int, steps: int) -> Range:
        """The range of one step.

        Args:
            step: Index of the step, from 0; one beyond the training has the last range.
            steps: S, steps of the training.

        Returns:
            Both ends, inclusive.
        """
        count, last = len(self.ranges), steps - 1
        if self.in_stages:
            return self.ranges[min(step * count // max(1, steps), count - 1)]
        if count == 1 or step >= last:
            return self.ranges[-1]
        index, rest = divmod(step * (count - 1), last)
        (low, high), (next_low, next_high) = self.ranges[index], self.ranges[index + 1]
        return _between(low, next_low, rest, last), _between(high, next_high, rest, last)

    @property
    def final(self) -> Range:
        """The range of the last step."""
        return self.ranges[-1]

    @property
    def changes(self) -> bool:
        """Whether the range is not the same at every step."""
        return len(self.ranges) > 1

    def __str__(self) -> str:
        """As it is written, with one space at each side of an arrow or a bar."""
        words = [f"{low}..{high}" if low < high else str(low) for low, high in self.ranges]
        return f" {STAGES if self.in_stages else MOVING} ".join(words)


@dataclass(frozen=True)
class WrittenRanges:
    """Ranges as they are written, before the level of a run is known.

    Args:
        ranges: Both ends of each, inclusive; an upper end of None is the level.
        in_stages: Whether each holds for equally many steps; otherwise the ends move from one to the next.
    """

    ranges: tuple[tuple[int, int | None], ...]
    in_stages: bool = False

    @property
    def ends_at_level(self) -> bool:
        """Whether a range ends at the level."""
        return any(high is None for _, high in self.ranges)

    @property
    def numbers(self) -> list[int]:
        """The ends that are numbers, each once."""
        return sorted({end for ends in self.ranges for end in ends if end is not None})

    def at_level(self, level: int) -> Curriculum:
        """The ranges of a run.

        Args:
            level: Its level.

        Returns:
            The curriculum.

        Raises:
            InvalidValueError: A range is empty.
        """
        ranges = tuple((low, level if high is None else high) for low, high in self.ranges)
        for low, high in ranges:
            if low > high:
                raise InvalidValueError(f"The range {low}..{high} is empty.", f"Write {high}..{low}.")
        return Curriculum(ranges, self.in_stages)

    def __str__(self) -> str:
        """As it is written, with one space at each side of an arrow or a bar."""
        words = [str(low) if low == high else f"{low}..{LEVEL if high is None else high}" for low, high in self.ranges]
        return f" {STAGES if self.in_stages else MOVING} ".join(words)


def parse_written(value: Any) -> WrittenRanges | None:
    """Read a range or several, of which each may end at the level.

    >>> str(parse_written("1 ..2->1.. level"))
    '1..2 -> 1..level'

    Args:
        value: The value of an option.

    Returns:
        The ranges; None if the value is neither a range nor several.

    Raises:
        InvalidValueError: A range is empty, or the ranges cannot be read.
    """
    if not isinstance(value, str):
        return None
    separator = STAGES if STAGES in value else MOVING
    words = [word.strip() for word in value.split(separator)]
    found = [RANGE.fullmatch(word) for word in words]
    if len(words) == 1 and not (found[0] and found[0][2]):
        return None
    if not all(found):
        if not any(found):
            return None  # words that only look alike
        raise InvalidValueError(f"The ranges '{value}' cannot be read.", HINT)
    ends = [(int(one[1]), one[2] or one[1]) for one in found if one]
    ranges = tuple((low, None if high == LEVEL else int(high)) for low, high in ends)
    written = WrittenRanges(ranges, in_stages=len(ranges) > 1 and separator == STAGES)
    written.at_level(max(low for low, _ in ranges))  # ranges of numbers must not be empty
    return written


def parse_curriculum(value: Any) -> Curriculum | None:
    """Read a range or several.

    >>> parse_curriculum("3..40 -> 3..160").at(0, 100), parse_curriculum("3..40->3..160").at(99, 100)
    ((3, 40), (3, 160))
    >>> parse_curriculum("4 | 8 | 16").at(50, 100), parse_curriculum(40), parse_curriculum("causal")
    ((8, 8), None, None)

    Args:
        value: The value of an option.

    Returns:
        The curriculum; None if the value is neither a range nor several, or if one ends at a level.

    Raises:
        InvalidValueError: A range is empty, or the ranges cannot be read.
    """
    written = parse_written(value)
    return None if written is None or written.ends_at_level else written.at_level(0)


def _between(first: int, last: int, part: int, whole: int) -> int:
    """The integer nearest to the point at a part of the way, the higher of two."""
    return first + (2 * (last - first) * part + whole) // (2 * whole)
