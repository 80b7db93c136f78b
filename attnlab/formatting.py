"""Numbers and times, as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def percent(share: float) -> str:
    """A share with one decimal; 100.0 % only when nothing is missing.

    >>> percent(0.99951), percent(1.0), percent(0.25)
    ('99.9 %', '100.0 %', '25.0 %')
    """
    tenths = 100 * share if share >= 1 else min(100 * share, 99.94)
    return f"{tenths:.1f} %"


def interval(ends: tuple[float, float]) -> str:
    """The ends of an interval of shares, in percent.

    >>> interval((0.991, 0.998))
    '99.1-99.8'
    """
    return "-".join(percent(end).removesuffix(" %") for end in ends)


def duration(seconds: float) -> str:
    """A time span.

    >>> duration(8.04), duration(75), duration(7300)
    ('8.0 s', '1:15', '2:01:40')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def thousands(number: float) -> str:
    """A count, with a thin grouping.

    >>> thousands(119424)
    '119,424'
    """
    return f"{round(number):,}"


SHARES = ("accuracy", "exact_match", "solved", "validation")
"""Values that are shares of 1."""


def unit(name: str) -> str:
    """What stands behind the name of a value whose numbers go without a sign."""
    return " in %" if name in SHARES else ""


def number(value: float, name: str) -> str:
    """A value as its kind is printed: shares in percent, without the sign.

    >>> number(0.7051, "accuracy"), number(1.23456, "loss"), number(math.nan, "loss")
    ('70.5', '1.235', '-')
    """
    if math.isnan(value):
        return "-"
    return percent(value).removesuffix(" %") if name in SHARES else f"{value:.4g}"


def between(ends: tuple[float, float], name: str) -> str:
    """An interval; empty if there is none.

    >>> between((0.5, 0.75), "accuracy"), between((-0.1, 2), "rank"), between((1.0, 1.0), "accuracy")
    ('50.0-75.0', '-0.1 to 2', '100.0')
    """
    if math.isnan(ends[0]):
        return ""
    low, high = (number(end, name) for end in ends)
    return low if low == high else f"{low}-{high}" if name in SHARES else f"{low} to {high}"


def fitted(value: float, levels: Sequence[Any]) -> str:
    """A fitted complexity; below the first level or beyond the last there is no saying where.

    >>> fitted(2.547, [2, 4]), fitted(0, [2, 4]), fitted(math.inf, [2, 4])
    ('2.55', '<2', '>4')
    """
    if math.isnan(value):
        return "-"
    return f">{levels[-1]}" if math.isinf(value) else f"<{levels[0]}" if value == 0 else f"{value:.3g}"


def span(ends: tuple[float, float], levels: Sequence[Any]) -> str:
    """An interval of fitted complexities; empty if there is none.

    >>> span((2.1, 3), [2, 4]), span((2.1, math.inf), [2, 4]), span((0, 0), [2, 4])
    ('2.1-3', '2.1 to >4', '<2')
    """
    if math.isnan(ends[0]):
        return ""
    low, high = (fitted(end, levels) for end in ends)
    if ends[0] > 0 and ends[1] < math.inf:
        return low if low == high else f"{low}-{high}"
    return low if low == high else f"{low} to {high}"
