"""Numbers and times as text, in one way everywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

SHARES = (
    "accuracy",
    "error",
    "normalized_accuracy",
    "exact_match",
    "solved",
    "validation_accuracy",
    "set_match",
    "f1",
)
"""Metrics that are shares of 1; they are printed in percent."""
HEADINGS = {"time_to_solve": "time to solve in steps", "seconds_to_solve": "time to solve in seconds"}
"""Metrics that are not named by their own words, or whose unit is in question."""
ROUNDING = 1e-12
"""Bound on the rounding error of a share: no test asks so many questions that one wrong answer costs as little."""


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters of ASCII and Latin 1 but tab and line end, and those that turn the direction of writing."""


def printable(text: str) -> str:
    r"""Leave control characters out, with which a name from a file of somebody else could write to a terminal.

    >>> printable("soft\x1b[2Jmax\u202e") == "soft[2Jmax"
    True

    Args:
        text: Text of any origin.

    Returns:
        The text with tabs and line ends as its only control characters.
    """
    return CONTROL.sub("", text)


def percent(share: float) -> str:
    """Format a share with one decimal; 100.0 % is only a full share, up to the rounding error of floats.

    >>> percent(0.99951), percent(1.0), percent(0.25), percent(0.9999999999999999)
    ('99.9 %', '100.0 %', '25.0 %', '100.0 %')

    Args:
        share: A share of 1.

    Returns:
        The share in percent, with its sign.
    """
    value = 100 * share if share >= 1 - ROUNDING else min(100 * share, 99.94)
    return f"{value:.1f} %"


def interval(ends: tuple[float, float]) -> str:
    """Format an interval of shares in percent, without the sign.

    >>> interval((0.991, 0.998))
    '99.1-99.8'

    Args:
        ends: The lower and the upper end, as shares of 1.

    Returns:
        Both ends, joined by a hyphen.
    """
    return "-".join(percent(end).removesuffix(" %") for end in ends)


def duration(seconds: float) -> str:
    """Format a time span.

    >>> duration(8.04), duration(75), duration(7300)
    ('8.0 s', '1:15 min', '2:01:40 h')

    Args:
        seconds: The time span in seconds.

    Returns:
        Seconds below a minute, otherwise minutes or hours with their unit.
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def thousands(number: float) -> str:
    """Format a count with a comma between groups of three digits.

    >>> thousands(119424)
    '119,424'

    Args:
        number: The count; it is rounded.

    Returns:
        The count as text.
    """
    return f"{round(number):,}"


def scaled(number: float) -> str:
    """Format a large count in three digits and an SI prefix.

    >>> scaled(119424), scaled(2.5e9)
    ('119 k', '2.5 G')

    Args:
        number: The count.

    Returns:
        The count as text.
    """
    size = min(4, int(math.log10(max(1.0, number))) // 3)
    prefix = ("", " k", " M", " G", " T")[size]
    return f"{number / 1000**size:.3g}{prefix}"


def metric_heading(metric: str) -> str:
    """Name a metric and its unit, for a heading above numbers without a sign.

    >>> metric_heading("exact_match"), metric_heading("loss")
    ('exact match in %', 'loss')

    Args:
        metric: The name of the metric.

    Returns:
        The name as words, with ``in %`` for shares.
    """
    return HEADINGS.get(metric, f"{metric.replace('_', ' ')}{' in %' if metric in SHARES else ''}")


def number(value: float, metric: str) -> str:
    """Format a value of a metric: shares in percent, without the sign.

    >>> number(0.7051, "accuracy"), number(1.23456, "loss"), number(math.nan, "loss")
    ('70.5', '1.235', '-')

    Args:
        value: The value; nan is a dash.
        metric: The name of the metric.

    Returns:
        The value as text.
    """
    if math.isnan(value):
        return "-"
    if metric == "time_to_solve":
        return thousands(value)
    return percent(value).removesuffix(" %") if metric in SHARES else f"{value:.4g}"


def between(ends: tuple[float, float], metric: str) -> str:
    """Format an interval of a metric.

    >>> between((0.5, 0.75), "accuracy"), between((-0.1, 2), "rank"), between((1.0, 1.0), "accuracy")
    ('50.0-75.0', '-0.1 to 2', '100.0')
    >>> between((-0.667, -0.646), "accuracy")
    '-66.7 to -64.6'

    Args:
        ends: The lower and the upper end; nan where there is no interval.
        metric: The name of the metric.

    Returns:
        The interval as text; one number where both ends are printed the same; nothing where there is no interval.
    """
    if math.isnan(ends[0]):
        return ""
    low, high = (number(end, metric) for end in ends)
    return low if low == high else f"{low}-{high}" if metric in SHARES and ends[0] >= 0 else f"{low} to {high}"


def option_text(value: Any) -> str:
    """Write the value of an option without Python's marks.

    >>> option_text(("rank", "gradients")), option_text(True), option_text(None), option_text("0" * 64)
    ('rank,gradients', 'true', '', '000000000000')

    Args:
        value: The value; a mapping with a name stands for a part.

    Returns:
        The value as text: parts by their names, a digest by its first 12 digits; empty where the value is None or
        empty.
    """
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    if isinstance(value, dict):
        pairs = ",".join(f"{name}={option_text(one)}" for name, one in value.items())
        return str(value["name"]) if "name" in value else pairs
    if isinstance(value, list | tuple):
        return ",".join(map(option_text, value))
    text = str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def fitted(complexity: float, levels: Sequence[Any]) -> str:
    """Format a fitted complexity such as C50; outside the levels only the side is known.

    >>> fitted(2.547, [2, 4]), fitted(0, [2, 4]), fitted(math.inf, [2, 4])
    ('2.55', '<2', '>4')

    Args:
        complexity: The fitted complexity; 0 below the first level, infinite above the last, nan where unknown.
        levels: The levels of the ladder, rising.

    Returns:
        The complexity as text.
    """
    if math.isnan(complexity):
        return "-"
    if math.isinf(complexity):
        return f">{levels[-1]}"
    return f"<{levels[0]}" if complexity == 0 else f"{complexity:.3g}"


def span(ends: tuple[float, float], levels: Sequence[Any]) -> str:
    """Format an interval of fitted complexities.

    >>> span((2.1, 3), [2, 4]), span((2.1, math.inf), [2, 4]), span((0, 0), [2, 4])
    ('2.1-3', '2.1 to >4', '<2')

    Args:
        ends: The lower and the upper end, as :func:`fitted` takes them; nan where there is no interval.
        levels: The levels of the ladder, rising.

    Returns:
        The interval as text; nothing where there is no interval.
    """
    if math.isnan(ends[0]):
        return ""
    low, high = (fitted(end, levels) for end in ends)
    if ends[0] > 0 and ends[1] < math.inf:
        return low if low == high else f"{low}-{high}"
    return low if low == high else f"{low} to {high}"
