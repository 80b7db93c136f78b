"""A report's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from attnlab.analysis.claims import ENOUGH, ClaimOutcome
from attnlab.analysis.grid import Cell, Grid, Label
from attnlab.analysis.statistics import Interval, improvement, interquartile_mean
from attnlab.formatting import between, fitted, number, span, unit
from attnlab.rendering._sparkline import bars
from attnlab.rendering._text_table import Aligned, Line, entry

COLORS = {"holds": "green", "fails": "red", "undecided": "yellow"}
Entry = Sequence[Line]


def grid_table(panel: Grid) -> Aligned:
    """Variants by levels: the mean, and below it the interval over seeds; for accuracies, chance."""
    uneven = len(panel.seeds() - {0}) > 1
    rows = [(row, [cell_entry(cell, panel.metric, count=uneven) for cell in panel.across(row)]) for row in panel.rows]
    if panel.metric == "accuracy":
        chances = [number(_chance(panel, column), "accuracy") for column in panel.columns]
        names = ["chance", *[""] * (len(panel.row_fields) - 1)]
        rows.append((tuple(names), [entry(said, style="dim") for said in chances]))
    return Aligned(panel.row_fields, [str(column) for column in panel.columns], rows, _title(panel))


def cell_entry(cell: Cell, value: str, *, count: bool) -> Entry:
    """Mean above, interval below, and how many seeds where not all cells have as many."""
    if not cell.values:
        return entry("failed", style="red") if cell.failed else entry("-", style="dim")
    color = "green" if all(cell.solved) else "yellow" if any(cell.solved) else ""
    seeds = f"n={len(cell.values)}" if count else ""
    return entry(number(cell.mean, value), between(cell.interval, value), seeds, style=color)


def capacity_table(panel: Grid) -> Aligned:
    """The curve of each variant, its reach, runs that solve, C50 and C90; a rank only where intervals part."""
    rows, ranks = [], ranked(panel)
    for row in panel.rows:
        cells, reach = panel.across(row), panel.max_solved(row)
        solved = f"{sum(sum(cell.solved) for cell in cells)}/{sum(len(cell.solved) for cell in cells)}"
        lines = [
            entry(fitted(middle, panel.columns), span(ends, panel.columns)) for middle, ends in panel.capacities[row]
        ]
        curve = [Line(line, "cyan") for line in _curve(cells)]
        plain = [entry("none" if reach is None else str(reach)), entry(solved)]
        rows.append((row, [curve, *plain, *lines, entry(ranks[row])]))
    heads = ("curve", "max solved", "solved", "C50", "C90", "rank")
    return Aligned(panel.row_fields, heads, rows, left=1)


def ranked(panel: Grid) -> dict[Label, str]:
    """Places by C50: one number where intervals part, a span of numbers where they overlap, none with too few seeds."""
    seeds = {row: min((len(c.values) for c in panel.across(row) if c.values), default=0) for row in panel.rows}
    ends: dict[Label, Interval] = {row: panel.capacities[row][0][1] for row in panel.rows}
    known = {row: ends[row] for row in panel.rows if seeds[row] >= ENOUGH and not math.isnan(ends[row][0])}
    places = dict.fromkeys(panel.rows, "-")
    for row, (low, high) in known.items() if len(known) > 1 else ():
        above = sum(other_low > high for other_low, _ in known.values())
        below = sum(other_high < low for _, other_high in known.values())
        first, last = above + 1, len(known) - below
        places[row] = str(first) if first == last else f"{first}-{last}"
    return places


@dataclass(frozen=True)
class Overall:
    """A variant over all levels and tasks that every variant was run on."""

    row: Label
    middle: tuple[float, Interval]
    """Interquartile mean of the shares from chance to 1."""
    better: tuple[float, Interval]
    """How probably a run of it beats one of the first variant."""


def overall(panels: Sequence[Grid]) -> list[Overall]:
    """Interquartile means, and probabilities of improvement over the first variant; nothing for a lone variant."""
    rows = [row for row in panels[0].rows if all(row in panel.rows for panel in panels)] if panels else []
    if len(rows) < 2:
        return []
    strata = {row: [cell.shares for panel in panels for cell in panel.across(row)] for row in rows}
    shared = [place for place in range(len(strata[rows[0]])) if all(strata[row][place] for row in rows)]
    saved = {row: [strata[row][place] for place in shared] for row in rows}
    first = saved[rows[0]]
    return [Overall(row, interquartile_mean(saved[row]), improvement(saved[row], first)) for row in rows]


def overall_table(fields: Sequence[str], result: Sequence[Overall]) -> Aligned:
    """All variants over all levels and tasks."""
    rows = []
    for index, one in enumerate(result):
        middle, better = (
            entry(number(value, "accuracy"), between(ends, "accuracy")) for value, ends in (one.middle, one.better)
        )
        rows.append((one.row, [middle, better if index else entry("-", style="dim")]))
    heads = ("interquartile mean", "beats the first")
    return Aligned(fields, heads, rows, Text("over all levels and tasks, from chance to 1, in %", style="dim"))


def claim_table(outcomes: Sequence[ClaimOutcome]) -> Table:
    """Claims, whether they hold, and the numbers that say so."""
    title = Text("claims", style="bold")
    table = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="", pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in outcomes:
        words = Text.assemble(one.statement, (f"\n{one.evidence}", "dim"))
        table.add_row(Text(one.outcome, style=COLORS[one.outcome]), words)
    return table


def _title(panel: Grid) -> Text:
    seeds = panel.seeds() - {0}
    count = f", means over {max(seeds)} seeds" if len(seeds) == 1 and max(seeds) > 1 else ""
    rising = f"  {panel.metric}{unit(panel.metric)} by {panel.by}{count}"
    return Text.assemble((panel.title, "bold"), (rising, "dim"))


def _chance(panel: Grid, column: Any) -> float:
    """Of the first variant that was run there."""
    result = (panel.cells[row, column].chance for row in panel.rows if (row, column) in panel.cells)
    return next((chance for chance in result if not math.isnan(chance)), math.nan)


def _curve(cells: Sequence[Cell]) -> list[str]:
    """Two lines of blocks, from chance to 1."""
    shares = [sum(cell.shares) / len(cell.shares) if cell.shares else math.nan for cell in cells]
    wide = max(1, min(3, 15 // max(1, len(shares))))
    lines = bars(shares, width=len(shares), height=2, low=0.0, high=1.0)
    return ["".join(block * wide for block in line) for line in lines]
