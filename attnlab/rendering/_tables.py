"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich import box
from rich.table import Table
from rich.text import Text

from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.claims import ClaimOutcome
from attnlab.analysis.grid import Grid
from attnlab.analysis.statistics import Interval, SeedShares, average, draws_per_row, improvement, interquartile_mean
from attnlab.analysis.time_to_solve import TIME_METRICS
from attnlab.formatting import between, fitted, metric_heading, number, span
from attnlab.rendering._cell_text import center_text, solved_text, spread_text
from attnlab.rendering._sparkline import bars
from attnlab.rendering._text_table import CellText, Line, TextTable, cell_text

T = TypeVar("T")
COLORS = {"holds": "green", "fails": "red", "undecided": "yellow"}
CAPACITY_HEADS = ("max solved", "C50", "C90", "rank")
"""Headings of the capacity tables in Markdown and HTML."""
BELOW_CHANCE = "below 0: worse than a guess among the answers that are possible, as before a model has learned which"
"""How a negative normalized accuracy is read."""
MOST_ROWS, FIRST_ROWS = 200, 100
"""Of more than so many variants a table on a screen lists so many, the first ones; files have all of them."""
LONGEST = 30
"""Characters of the longest variant that is named in a heading."""


def grid_table(panel: Grid) -> TextTable:
    """Variants by levels: the mean, its interval over seeds, solved runs; below the accuracies, the chance accuracy.

    Of more than :data:`MOST_ROWS` variants the first :data:`FIRST_ROWS` are listed.
    """
    uneven = has_uneven_seeds(panel)
    rows = [
        (row, [_cell(cell, panel.metric, count=uneven) for cell in panel.across(row)]) for row in listed(panel.rows)
    ]
    if chance := chance_line(panel):
        names, texts = chance
        rows.append((names, [cell_text(text, style="dim") for text in texts]))
    return TextTable(panel.row_fields, [str(column) for column in panel.columns], rows, _title(panel))


def has_uneven_seeds(panel: Grid) -> bool:
    """Tell whether cells of a panel have different numbers of seeds, so that each cell tells its own.

    Args:
        panel: The panel.
    """
    return len(panel.seeds() - {0}) > 1


def over_seeds(panel: Grid) -> str:
    """Tell what the numbers of a panel are, with the number of seeds where that is the same in all cells.

    Args:
        panel: The panel.

    Returns:
        Such as ``means over 5 seeds``.
    """
    kind, seeds = "medians" if panel.metric in TIME_METRICS else "means", panel.seeds() - {0}
    return f"{kind} over {f'{max(seeds)} ' if len(seeds) == 1 and max(seeds) > 1 else ''}seeds"


def chance_line(panel: Grid) -> tuple[Label, list[str]] | None:
    """Write the last line of a table of accuracies: the chance accuracy of each column.

    Args:
        panel: The panel.

    Returns:
        What stands in the columns of the row fields, and the chances in percent; None where there is no such line.
    """
    chances = _chances(panel) if panel.metric == "accuracy" else []
    if not chances:
        return None
    return ("chance", *[""] * (len(panel.row_fields) - 1)), [number(chance, "accuracy") for chance in chances]


def listed(rows: Sequence[T]) -> Sequence[T]:
    """Choose the rows that a table on a screen lists.

    Args:
        rows: All rows.

    Returns:
        All of up to :data:`MOST_ROWS`; of more, the first :data:`FIRST_ROWS`.
    """
    return rows if len(rows) <= MOST_ROWS else rows[:FIRST_ROWS]


def _cell(cell: Cell, metric: str, *, count: bool) -> CellText:
    """The mean, its interval, the solved runs with the interval of P(solve), the number of seeds where cells differ."""
    if not cell.values:
        return cell_text("failed", style="red") if cell.failed else cell_text("-", style="dim")
    color = "green" if all(cell.solved) else "yellow" if any(cell.solved) else ""
    seeds = f"n={len(cell.values)}" if count else ""
    solved = solved_text(cell) if metric != "solved" else ""
    return cell_text(center_text(cell, metric), spread_text(cell, metric), solved, seeds, style=color)


def max_solved_text(panel: Grid, row: Label) -> str:
    """The max solved level of a row, or none."""
    level = panel.max_solved(row)
    return "none" if level is None else str(level)


def capacity_table(panel: Grid, ranks: Mapping[Label, str]) -> TextTable:
    """For each variant that is listed: its curve, max solved level, solved runs, C50, C90, its rank in the report."""
    rows = []
    known = panel.capacities_of(listed(panel.rows))
    for row in known:
        cells = panel.across(row)
        solved = f"{sum(sum(cell.solved) for cell in cells)}/{sum(len(cell.solved) for cell in cells)}"
        levels = panel.levels_run(row)
        capacities = [cell_text(fitted(value, levels), span(ends, levels)) for value, ends in known[row]]
        curve = [Line(line, "cyan") for line in _curve(cells)]
        rising = "not monotone" if panel.rises(row) else ""
        counts = [cell_text(max_solved_text(panel, row), rising), cell_text(solved)]
        rows.append((row, [curve, *counts, *capacities, cell_text(ranks[row])]))
    heads = ("curve", "max solved", "solved", "C50", "C90", "rank")
    return TextTable(panel.row_fields, heads, rows, left=1)


@dataclass(frozen=True)
class Overall:
    """A variant over all levels and tasks that every variant was run on."""

    row: Label
    mean: tuple[float, Interval]
    """Interquartile mean of the shares of the way from chance to 1."""
    improvement: tuple[float, Interval]
    """The probability that a run of it beats one of the first variant."""
    shared: int = 0
    """Levels of all tasks together that every variant was run on; only these are compared."""
    total: int = 0
    """Levels of all tasks together that some variant was run on."""


def overall(panels: Sequence[Grid], *, whole: bool = True) -> list[Overall]:
    """Interquartile means, and probabilities of improvement over the first variant; nothing for a single variant.

    Args:
        panels: The ladders.
        whole: Whether all variants are told, or those that a table on a screen lists; all are compared.

    Returns:
        The variants, in the order of the rows.
    """
    everywhere = set.intersection(*(set(panel.rows) for panel in panels)) if panels else set()
    rows = [row for row in panels[0].rows if row in everywhere] if panels else []
    if len(rows) < 2:
        return []
    strata = {row: [cell.share_sample for panel in panels for cell in panel.across(row)] for row in rows}
    shared = [index for index in range(len(strata[rows[0]])) if all(strata[row][index].values for row in rows)]
    common = {row: [strata[row][index] for index in shared] for row in rows}
    first = common[rows[0]]
    counts = len(shared), len(strata[rows[0]])
    numbers = sum(len(sample.values) for samples in common.values() for sample in samples)
    draws = draws_per_row(len(rows), numbers)
    middle, better = SeedShares(), SeedShares()
    return [
        Overall(
            row,
            interquartile_mean(common[row], draws, middle),
            improvement(common[row], first, draws, better),
            *counts,
        )
        for row in (rows if whole else listed(rows))
    ]


def overall_table(fields: Sequence[str], variants: Sequence[Overall]) -> TextTable:
    """All variants over all levels and tasks."""
    rows = []
    for index, one in enumerate(variants):
        mean, better = (
            cell_text(number(value, "accuracy"), between(ends, "accuracy"))
            for value, ends in (one.mean, one.improvement)
        )
        rows.append((one.row, [mean, better if index else cell_text("-", style="dim")]))
    first = " ".join(variants[0].row) if variants else ""
    heads = ("interquartile mean", f"P(better than {first if len(first) <= LONGEST else 'the first'}) in %")
    below = any(min(one.mean[0], one.mean[1][0]) < 0 for one in variants)
    shared, total = (variants[0].shared, variants[0].total) if variants else (0, 0)
    over = "all levels and tasks" if shared == total else f"the {shared} of {total} levels that all were run on"
    title = f"normalized accuracy over {over} (0 = chance, 100 = perfect)"
    title += f"\n{BELOW_CHANCE}" if below else ""
    return TextTable(fields, heads, rows, Text(title, style="dim"))


def claim_table(outcomes: Sequence[ClaimOutcome]) -> Table:
    """Claims, their outcomes, and the numbers that decide them."""
    title = Text("claims", style="bold")
    table = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="", pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in outcomes:
        text = Text.assemble(one.statement, (f"\n{one.evidence}", "dim"))
        table.add_row(Text(one.outcome, style=COLORS[one.outcome]), text)
    return table


def _title(panel: Grid) -> Text:
    seeds = panel.seeds() - {0}
    count = f", {over_seeds(panel)}" if len(seeds) == 1 and max(seeds) > 1 else ""
    rest = f"  {metric_heading(panel.metric)} by {panel.by}{count}"
    return Text.assemble((panel.title, "bold"), (rest, "dim"))


def _chances(panel: Grid) -> list[float]:
    """The chance accuracy of each column, nan where its cells have several; nothing where columns do not set it."""
    by_column = [
        {
            panel.cells[row, column].chance
            for row in panel.rows
            if (row, column) in panel.cells and not math.isnan(panel.cells[row, column].chance)
        }
        for column in panel.columns
    ]
    sets_task = panel.is_ladder or panel.column_field.startswith("task.")
    if not sets_task and len(set().union(*by_column)) > 1:
        return []
    chances = [one.pop() if len(one) == 1 else math.nan for one in by_column]
    return [] if all(map(math.isnan, chances)) else chances


def _curve(cells: Sequence[Cell]) -> list[str]:
    """Two lines of blocks, from chance to 1."""
    shares = [average(cell.shares) for cell in cells]
    columns = max(1, min(3, 15 // max(1, len(shares))))
    lines = bars(shares, width=len(shares), height=2, low=0.0, high=1.0)
    return ["".join(block * columns for block in line) for line in lines]
