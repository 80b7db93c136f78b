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
    """The mean over seeds, or the median of times to solve; ``>2,000`` where it is longer than the runs were trained.

    Args:
        cell: A cell with runs.
        metric: Its metric.

    Returns:
        The number as text.
    """
    return number(cell.mean, metric) if cell.times is None else _time(cell.times.median, cell.times, metric)


def _ends(cell: Cell) -> Interval:
    """The interval of the number that stands in the table; of fewer than three seeds the range, if there are two.

    Args:
        cell: A cell with runs.

    Returns:
        Both ends, infinite where a time is not bounded; nan of a single seed of bounded metrics.
    """
    if cell.times is None:
        found = cell.interval
        return (min(cell.values), max(cell.values)) if math.isnan(found[0]) and len(cell.values) == 2 else found
    if len(cell.times.times) != 2:
        return cell.times.interval
    pairs = zip(cell.times.times, cell.times.solved, strict=True)
    times = [time if solved else math.inf for time, solved in pairs]
    return min(times), max(times)


def spread_text(cell: Cell, metric: str) -> str:
    """The interval of a mean or a median; the range of two seeds, which allow no interval; nothing of a single one.

    Args:
        cell: The cell.
        metric: Its metric.

    Returns:
        Both ends as text.
    """
    found, kind = _ends(cell), "range " if len(cell.values) == 2 else ""
    if math.isnan(found[0]):
        return ""
    if cell.times is None:
        return kind + between(found, metric)
    low, high = (_time(end, cell.times, metric) for end in found)
    if math.isinf(found[1]) and found[0] >= cell.times.budget:
        return kind + high
    return kind + (low if low == high else f"{low} to {high}")


def solved_text(cell: Cell) -> str:
    """The solved runs and, from three seeds on, the interval of P(solve) in percent; nothing of a single seed."""
    if len(cell.values) < 2:
        return ""
    count = f"{sum(cell.solved)}/{len(cell.solved)}"
    if math.isnan(cell.solve_interval[0]):
        return count
    low, high = (f"{100 * end:.0f}" for end in cell.solve_interval)
    return f"{count}: {low}-{high}"


def _time(time: float, known: SolveTimes, metric: str) -> str:
    """A time; where it is infinite, the longest time that is known to be too short."""
    return f">{number(max(known.times), metric)}" if math.isinf(time) else number(time, metric)
