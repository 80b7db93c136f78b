"""What is solved on a single level, in words: by which variants, and from which number on where one is varied."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnlab.analysis.cell import Label
from attnlab.analysis.grid import Grid
from attnlab.records import SOLVED

MOST_GROUPS = 8
"""Variants that are told apart in words at most."""


def reached(panel: Grid) -> str:
    """Tell which rows of a panel of one level are solved by at least half of their runs.

    Args:
        panel: The panel.

    Returns:
        ``recall, pairs 8: 99 % is reached by softmax from width 32 on; by linear at no width. One seed each.``; empty
        for several levels, a single row, or too many rows to tell.
    """
    if len(panel.columns) != 1 or len(panel.rows) < 2:
        return ""
    at = _varied_number(panel)
    passed = {row: bool(panel.across(row)[0].passed) for row in panel.rows if panel.across(row)[0].passed is not None}
    groups: dict[str, dict[float, bool]] = {}
    for row, one in passed.items():
        name = " ".join(row if at is None else row[:at] + row[at + 1 :]) or panel.title
        groups.setdefault(name, {})[math.nan if at is None else float(row[at])] = one
    if len(groups) > MOST_GROUPS:
        return ""
    phrases: dict[str, list[str]] = {}
    for name, by_number in groups.items():
        phrase = _where(panel.row_fields[at], by_number) if at is not None else "" if by_number.popitem()[1] else "not"
        phrases.setdefault(phrase, []).append(name)
    told = [
        f"not by {_listed(names)}" if phrase == "not" else f"by {_listed(names)} {phrase}".strip()
        for phrase, names in sorted(phrases.items(), key=lambda pair: pair[0].startswith(("not", "at no ")))
    ]
    if list(phrases) == ["not"]:
        told = [f"by none of {_listed(phrases['not'])}"]
    level = f"{panel.title}, {panel.by} {panel.columns[0]}"
    return f"{level}: {100 * SOLVED:g} % is reached {'; '.join(told)}. {_seeds(panel, passed)}"


def _varied_number(panel: Grid) -> int | None:
    """The last field of the rows whose values are numbers, and more than one."""
    for at in reversed(range(len(panel.row_fields))):
        values = {row[at] for row in panel.rows}
        if len(values) > 1 and all(map(_is_number, values)):
            return at
    return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _where(field: str, by_number: dict[float, bool]) -> str:
    """``from width 32 on``, ``at width 16 and 64``, ``at no width``."""
    numbers = sorted(by_number)
    solved = [number for number in numbers if by_number[number]]
    if not solved:
        return f"at no {field}"
    if len(solved) > 1 and solved == numbers[-len(solved) :]:
        return f"from {field} {solved[0]:g} on"
    return f"at {field} {_listed([f'{number:g}' for number in solved])}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _seeds(panel: Grid, rows: dict[Label, bool]) -> str:
    """Over how many seeds."""
    counts = {len(panel.across(row)[0].values) for row in rows}
    if counts == {1}:
        return "One seed each: another may differ."
    few, most = min(counts), max(counts)
    return f"Reached: by at least half of {most if few == most else f'{few} to {most}'} seeds."
