"""The numbers of a cell as text: its mean or median, its interval, its solved runs."""

from __future__ import annotations

import math

from attnlab.analysis.cell import Cell
from attnlab.analysis.statistics import Interval
from attnlab.analysis.time_to_solve import SolveTimes
from attnlab.formatting import between, number


def center(cell: Cell) -> float:
    """The mean over seeds; of times to solve their median, infinite where it was not reached.

    Args:
        cell: A cell with runs.

    Returns:
        The number that stands in the table.
    """
    return cell.mean if cell.times is None else cell.times.median


def center_text(cell: Cell, metric: str) -> str:
    """The mean over seeds, or the median of times to solve; ``>2,000`` where more than half were unsolved for so long.

    Args:
        cell: A cell with runs.
        metric: Its metric.

    Returns:
        The number as text.
    """
    if cell.times is None:
        return number(cell.mean, metric)
    median = cell.times.median
    return f">{number(cell.times.unsolved_until, metric)}" if math.isinf(median) else number(median, metric)


def _ends(cell: Cell) -> Interval:
    """The interval of a mean; of fewer than three seeds the range, if there are two; nan where there is neither."""
    found = cell.interval
    return (min(cell.values), max(cell.values)) if math.isnan(found[0]) and len(cell.values) == 2 else found


def spread_text(cell: Cell, metric: str) -> str:
    """The interval of a mean or a median; the range of two seeds, which allow no interval; nothing of a single one.

    Args:
        cell: The cell.
        metric: Its metric.

    Returns:
        Both ends as text.
    """
    kind = "range " if len(cell.values) == 2 else ""
    if cell.times is None:
        found = _ends(cell)
        return "" if math.isnan(found[0]) else kind + between(found, metric)
    low, high = _time_ends(cell.times, metric)
    return kind + (low if low == high else f"{low} to {high}") if low else ""


def solved_text(cell: Cell) -> str:
    """The solved runs and, from three seeds on, the interval of P(solve) in percent; nothing of a single seed."""
    if len(cell.values) < 2:
        return ""
    count = f"{sum(cell.solved)}/{len(cell.solved)}"
    if math.isnan(cell.solve_interval[0]):
        return count
    low, high = (f"{100 * end:.0f}" for end in cell.solve_interval)
    return f"{count}: {low}-{high}"


def _time_ends(known: SolveTimes, metric: str) -> tuple[str, str]:
    """The ends of the interval of a median, or of the range of two times; empty of a single one.

    An end without a bound is later than the longest time that a run was followed.
    """
    longest = max(known.times, default=0.0)
    beyond = f">{number(longest, metric)}"
    if len(known.times) == 2:
        pairs = zip(known.times, known.solved, strict=True)
        time, censored = min((time, not solved) for time, solved in pairs)
        low = f"{'>' * censored}{number(time, metric)}"
        return low, number(longest, metric) if all(known.solved) else beyond
    ends = known.interval
    if math.isnan(ends[0]):
        return "", ""
    if math.isinf(ends[1]):
        return beyond if ends[0] >= longest else number(ends[0], metric), beyond
    return number(ends[0], metric), number(ends[1], metric)
