"""Durations as people write them: 90s, 20m, 1h30m, or a number of seconds."""

from __future__ import annotations

import math
import re

from attnlab.errors import InvalidValueError

SECONDS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
WRITTEN = re.compile(r"(?:\d+(?:\.\d+)?(?:h|min|m|s))+", re.ASCII)
LONGEST = 366 * 24 * 3600.0
"""A year; more is a slip of the keyboard."""


def parse_duration(text: str, where: str = "") -> float:
    """Read a duration.

    >>> parse_duration("20m"), parse_duration("1h30m"), parse_duration("45")
    (1200.0, 5400.0, 45.0)

    Args:
        text: Numbers with their units, or seconds alone.
        where: Where the text stands, for a message.

    Returns:
        Seconds.

    Raises:
        InvalidValueError: The text is no duration, or not between a second and a year.
    """
    word = text.strip().lower()
    if WRITTEN.fullmatch(word):
        parts = re.findall(r"([\d.]+)(h|min|m|s)", word)
        seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
    else:
        seconds = float(word) if re.fullmatch(r"\d+(\.\d+)?", word, re.ASCII) else math.nan
    if not 1 <= seconds <= LONGEST:
        hint = "Write a time such as 90s, 20m or 1h30m, between a second and a year."
        raise InvalidValueError(f"'{text}' is no such duration.", hint, where=where)
    return seconds
